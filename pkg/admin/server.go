// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package admin serves what a reaper knows over HTTP on its unix socket, and is the client of that.
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

// Reaper is what a Server needs of a reaper. Its methods may be called from any goroutine; their error is
// ErrStopped once the reaper is stopping.
type Reaper interface {
	// Ready returns nil once the reaper has read the records.
	Ready(ctx context.Context) error
	// Health returns nil while the reaper is ready and can do its work.
	Health(ctx context.Context) error
	Status(ctx context.Context) (api.ReaperStatus, error)
	// EachSocket calls yield with each socket that q asks for, until yield returns an error. A view is valid until yield
	// returns. The problems are what could not be read.
	EachSocket(ctx context.Context, q api.SocketQuery, yield func(*api.SocketView) error) (problems []string, err error)
	History(ctx context.Context, q api.HistoryQuery) (api.HistoryPage, error)
	Mode(ctx context.Context) (api.ModeView, error)
	SetMode(ctx context.Context, sw state.Switch) (api.ModeView, error)
}

// Server answers for one reaper.
type Server struct {
	Reaper Reaper
	// Metrics returns the reaper's metrics in Prometheus' text format. If it is nil, a scrape is answered with 503.
	Metrics func(ctx context.Context) ([]byte, error)
	Holder  api.Holder
	// HandOver makes the reaper stop cleanly for another one to take its place.
	HandOver func()
	Log      *slog.Logger
}

// Listen makes the reaper's socket, for its owner alone, in the place of what an earlier reaper may have
// left there. Only the holder of the state directory's lock may call it, and nothing else that makes files
// may run at the same time.
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

// Serve answers requests on l until ctx ends, then closes l. The socket stays in the file system: by now its
// path may be another reaper's, so only who holds the lock may remove it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	if err := serve(ctx, srv, l, s.Log, endWithin); err != nil {
		return fmt.Errorf("serve the reaper's socket: %w", err)
	}
	return nil
}

// endWithin is how long the answers that are under way may take when a server ends: the process will, too.
const endWithin = 200 * time.Millisecond

// serve serves until ctx ends, and then for as long as the answers under way take, within a bound.
func serve(ctx context.Context, srv *http.Server, l net.Listener, log *slog.Logger, within time.Duration) error {
	srv.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		defer cancel()
		if srv.Shutdown(late) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(l)
	if !stop() {
		<-ended // Serve returns as soon as that begins
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answerWithin is how long the reaper may take to say what a health check or a scrape asks it.
const answerWithin = 2 * time.Second

// answers calls a method of the reaper that returns an error if something is wrong, and does not wait for long.
func answers(ctx context.Context, method func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err := method(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the reaper has not answered for %v", answerWithin)
	}
	return err
}

// exposition returns what the reaper has counted, for a scraper.
func (s *Server) exposition(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if s.Metrics == nil {
		return nil, failure{http.StatusServiceUnavailable, "this reaper serves no metrics"}
	}
	return s.Metrics(ctx)
}
