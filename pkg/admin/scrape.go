// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"
)

// Scrape serves /metrics and /healthz over TCP, and nothing else. It outlives reapers: without one it answers with the
// reason. Its cost is bounded, because any program in the network may send requests.
type Scrape struct {
	log     *slog.Logger
	subject atomic.Pointer[subject]
}

// subject is the reaper that a Scrape answers for, or the reason why there is none.
type subject struct {
	server *Server // nil: there is none
	reason string

	flight singleflight.Group
	last   atomic.Pointer[scraped]
}

// scraped is the result of a scrape.
type scraped struct {
	text []byte
	at   time.Time
}

// NewScrape returns a Scrape without a reaper.
func NewScrape(log *slog.Logger) *Scrape {
	s := &Scrape{log: log}
	s.SetUnavailable("the reaper is starting")
	return s
}

// SetServer has s answer for a reaper from now on.
func (s *Scrape) SetServer(server *Server) { s.subject.Store(&subject{server: server}) }

// SetUnavailable has s answer from now on that there is no reaper, with the reason.
func (s *Scrape) SetUnavailable(reason string) { s.subject.Store(&subject{reason: reason}) }

// metricsType is the media type of Prometheus' text format.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// The limits of the TCP listener.
const (
	maxTCPConns      = 64
	tcpHeaderTimeout = 3 * time.Second  // of a request's header, its first byte included
	tcpReadTimeout   = 5 * time.Second  // of a request
	tcpWriteTimeout  = 10 * time.Second // of an answer
	maxTCPHeader     = 8 << 10          // bytes
	maxScrapeAge     = time.Second      // of a scrape that is served again
)

// ListenTCP opens a listener at an address, such as "127.0.0.1:20470" or ":20470".
func ListenTCP(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	advice := "set another address"
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, unix.EADDRINUSE):
		advice = "another process, perhaps another reaper, listens there: stop it, or set another address"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		advice = "this machine does not have that address: set one of its own, or none, as in :20470"
	case errors.Is(err, unix.EACCES):
		advice = "a port below 1024 needs CAP_NET_BIND_SERVICE: set a higher one"
	}
	return nil, fmt.Errorf("listen on the metrics address %s: %w (%s)", address, err, advice)
}

// Serve answers requests on l until ctx is done, then closes l.
func (s *Scrape) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: tcpHeaderTimeout, ReadTimeout: tcpReadTimeout, WriteTimeout: tcpWriteTimeout,
		MaxHeaderBytes: maxTCPHeader, DisableGeneralOptionsHandler: true,
	}
	srv.SetKeepAlivesEnabled(false) // a scraper sends a few requests a minute
	limit := connLimit(maxTCPConns)
	fair := newFairListener(l, limit, func(from netip.Prefix, isFull bool) {
		s.log.Warn("closing connections of a client with too many", "listener", l.Addr().String(), "client", from.String())
		if server := s.subject.Load().server; server != nil && isFull {
			server.full(l.Addr(), limit)
		}
	})
	fair.attach(srv)
	if err := serve(ctx, srv, fair, s.log, shutdownTimeout); err != nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// ServeHTTP answers one request. It compares the path byte by byte: a ServeMux would redirect other spellings.
func (s *Scrape) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	of := s.subject.Load()
	switch {
	case r.URL.Path != "/metrics" && r.URL.Path != "/healthz":
		http.NotFound(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
	case of.server == nil:
		_ = writeError(w, statusError{http.StatusServiceUnavailable, of.reason}) // an error means that the client is gone
	case r.URL.Path == "/healthz":
		of.server.reply(of.server.health)(w, r)
	default:
		text, err := of.scrape(r.Context())
		if err != nil {
			_ = writeError(w, err)
			return
		}
		writeMetrics(w, text)
	}
}

// scrape asks the reaper at most once a second, however many scrapers there are: concurrent ones share a result.
func (s *subject) scrape(ctx context.Context) ([]byte, error) {
	text, err, _ := s.flight.Do("", func() (any, error) {
		if last := s.last.Load(); last != nil && time.Since(last.at) < maxScrapeAge {
			return last.text, nil
		}
		text, err := s.server.scrape(context.WithoutCancel(ctx)) // which has a timeout; others wait for the result
		if err != nil {
			return nil, err
		}
		s.last.Store(&scraped{text, time.Now()})
		return text, nil
	})
	if err != nil {
		return nil, err
	}
	return text.([]byte), nil
}
