// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package admin serves a reaper's HTTP API on its unix socket, its metrics and health over TCP, and is the client of the
// former.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/state"
)

// Reaper is what a Server needs of a reaper. Its methods may be called from any goroutine. They return api.ErrStopped
// while the reaper stops and after that.
type Reaper interface {
	// Ready returns nil once the reaper has read the records.
	Ready(ctx context.Context) error
	// Health returns nil while the reaper is ready and can do its work.
	Health(ctx context.Context) error
	// Refresh has the half-closed sockets read now. It returns after a bounded time, with the age of the known sockets: 0 if
	// all were read.
	Refresh(ctx context.Context) (stale time.Duration)
	Status(ctx context.Context) (api.ReaperStatus, error)
	// EachSocket calls yield with each socket that q selects, until yield returns an error. A view is valid until yield
	// returns. The problems are the network namespaces and owners that could not be read.
	EachSocket(ctx context.Context, q api.SocketQuery, yield func(*api.SocketView) error) (problems []string, err error)
	// Leaks groups the sockets that q selects.
	Leaks(ctx context.Context, q api.LeakQuery) (api.LeakList, error)
	// EachEntry calls yield with each entry of the history that q selects, the newest last, until yield returns an error.
	EachEntry(ctx context.Context, q api.HistoryQuery, yield func(*api.Entry) error) (api.HistoryEnd, error)
	Policies(ctx context.Context, q api.PodQuery) (api.PolicyList, error)
	Mode(ctx context.Context) (api.ModeView, error)
	SetMode(ctx context.Context, sw state.Switch) (api.ModeView, error)
	// DryRun returns what a switch to destroy would do at once.
	DryRun(ctx context.Context, scope state.Scope) (api.DryRun, error)
}

// Server serves the API of one reaper.
type Server struct {
	Reaper Reaper
	// Metrics returns the reaper's metrics in Prometheus' text format. If it is nil, a scrape is answered with 503.
	Metrics func(ctx context.Context) ([]byte, error)
	Holder  api.Holder
	// HandOver stops the reaper, so that another one can take its place.
	HandOver func()
	// Full is called, at most once a minute for each listener, when limit connections are open, which are all that the
	// listener may have. It may be nil.
	Full func(listener net.Addr, limit int)
	Log  *slog.Logger
	// Process is the process of the reaper; its functions may be nil.
	Process Process
}

// Listen creates the reaper's socket, which only its owner can use, in place of one that an earlier reaper has left. The
// caller holds the lock of the state directory. Listen changes the umask of the process while it runs, so no other
// goroutine may create files then.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("remove the socket of an earlier reaper: %w", err)
	}
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, fmt.Errorf("listen on the reaper's socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// The limits of the unix socket.
const (
	maxUnixConns    = 256
	unixReadTimeout = 5 * time.Second // of a request
)

// Serve answers requests on l until ctx is done, then closes l. It leaves the socket in the file system: another reaper
// may have created one at the same path by then, and only the holder of the lock may remove it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s.Handler(), ReadTimeout: unixReadTimeout}
	srv.SetKeepAlivesEnabled(false) // an idle client would keep a connection from others
	limit := connLimit(maxUnixConns)
	limited := limitConns(srv, l, limit, func() { s.full(l.Addr(), limit) })
	if err := serve(ctx, srv, stallListener{limited}, s.Log, shutdownTimeout); err != nil {
		return fmt.Errorf("serve the reaper's socket: %w", err)
	}
	return nil
}

func (s *Server) full(listener net.Addr, limit int) {
	if s.Full != nil {
		s.Full(listener, limit)
	}
}

// shutdownTimeout bounds the time that open requests may take when a server stops: the process exits next.
const shutdownTimeout = 200 * time.Millisecond

// serve serves until ctx is done, and then until the open requests are answered, for at most the timeout.
func serve(ctx context.Context, srv *http.Server, l net.Listener, log *slog.Logger, timeout time.Duration) error {
	srv.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	stopped := make(chan struct{})
	cancelStop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(shortageListener{l})
	if !cancelStop() {
		<-stopped // Serve returns when Shutdown begins
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// reaperTimeout bounds the time that the reaper's loop may take to answer a health check or a scrape.
const reaperTimeout = 2 * time.Second

// withTimeout calls check with reaperTimeout.
func withTimeout(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, reaperTimeout)
	defer cancel()
	err := check(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the reaper has not answered for %v", reaperTimeout)
	}
	return err
}

// scrape returns the reaper's metrics.
func (s *Server) scrape(ctx context.Context) (text []byte, err error) {
	if s.Metrics == nil {
		return nil, statusError{http.StatusServiceUnavailable, "this reaper serves no metrics"}
	}
	ctx, cancel := context.WithTimeout(ctx, reaperTimeout)
	defer cancel()
	s.Reaper.Refresh(ctx)
	return s.Metrics(ctx)
}
