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
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

// Scrape serves /metrics and /healthz over TCP, and nothing else. It outlives reapers: while there is none to
// answer for it says why not. What it does is bounded, whoever asks: anybody in the network may.
type Scrape struct {
	log   *slog.Logger
	of    atomic.Pointer[subject]
	turn  chan struct{} // held by who asks the reaper, and looks at the text
	text  []byte        // of the last scrape
	from  *subject      // that it is of
	taken time.Time     // when
}

// subject is what a Scrape answers for: a reaper, or the reason why there is none.
type subject struct {
	server *Server
	none   string
}

// NewScrape makes a Scrape that has no reaper to answer for yet.
func NewScrape(log *slog.Logger) *Scrape {
	s := &Scrape{log: log, turn: make(chan struct{}, 1)}
	s.None("the reaper is starting")
	return s
}

// For has it answer for a reaper from now on.
func (s *Scrape) For(server *Server) { s.of.Store(&subject{server: server}) }

// None has it answer from now on that there is no reaper, and why.
func (s *Scrape) None(why string) { s.of.Store(&subject{none: why}) }

// contentType is the media type of the Prometheus text format.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// The bounds on what is served over TCP.
const (
	scrapeConns  = 32               // connections at a time
	scrapeRead   = 5 * time.Second  // for a request
	scrapeWrite  = 10 * time.Second // from then on, for the answer
	scrapeHeader = 8 << 10          // bytes
	scrapeAge    = time.Second      // how old a scrape may be that is given again
)

// ListenTCP opens a listener at an address, such as "127.0.0.1:20470" or ":20470".
func ListenTCP(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	advice := "give another one"
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, unix.EADDRINUSE):
		advice = "another process, perhaps another reaper, listens there: end that, or give another one"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		advice = "this machine has no such address: give one that it has, or none, as in :20470"
	case errors.Is(err, unix.EACCES):
		advice = "a port below 1024 takes CAP_NET_BIND_SERVICE: give a higher one"
	}
	return nil, fmt.Errorf("listen on the metrics address %s: %w (%s)", address, err, advice)
}

// Serve answers requests on l until ctx ends, then closes l.
func (s *Scrape) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: s, ReadTimeout: scrapeRead, WriteTimeout: scrapeWrite, MaxHeaderBytes: scrapeHeader,
		DisableGeneralOptionsHandler: true,
	}
	srv.SetKeepAlivesEnabled(false) // a scraper comes four times a minute
	if err := serve(ctx, srv, netutil.LimitListener(l, scrapeConns), s.log, endWithin); err != nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// ServeHTTP answers one request. The path is compared as it is: nothing that a path could be made to mean is
// anywhere behind it.
func (s *Scrape) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	of := s.of.Load()
	known := r.URL.Path == "/metrics" || r.URL.Path == "/healthz"
	var err error
	switch {
	case !known:
		err = failure{http.StatusNotFound, "there is no " + strconv.Quote(r.URL.Path) + " here, only /metrics and /healthz"}
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		err = notAllowed(w, r, []string{http.MethodGet, http.MethodHead})
	case of.server == nil:
		err = failure{http.StatusServiceUnavailable, of.none}
	case r.URL.Path == "/healthz":
		of.server.reply(of.server.health)(w, r, nil)
	default:
		var text []byte
		if text, err = s.scrape(r.Context(), of); err == nil {
			expose(w, text)
		}
	}
	if err != nil {
		_ = fail(w, err) // who asked may have gone
	}
}

// scrape asks the reaper for its figures, once a second at most however many scrapers there are.
func (s *Scrape) scrape(ctx context.Context, of *subject) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.from == of && time.Since(s.taken) < scrapeAge {
		return s.text, nil
	}
	text, err := of.server.exposition(ctx)
	if err != nil {
		return nil, err
	}
	s.text, s.from, s.taken = text, of, time.Now()
	return text, nil
}
