// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/admin"
)

// isAddress reports whether a --metrics-address can be one: nothing, for none, or HOST:PORT.
func isAddress(text string) bool {
	if text == "" {
		return true
	}
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// serveMetrics serves metrics over TCP if there is an address for that, until ctx ends or stop is called. It fails
// where it cannot listen: a scrape that nobody answers looks like a node without a reaper.
func serveMetrics(ctx context.Context, scrape *admin.Scrape, address string, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	l, err := admin.ListenTCP(ctx, address)
	if err != nil {
		return nil, err
	}
	log.Info("metrics are served over TCP", "address", l.Addr().String())
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := scrape.Serve(ctx, l); err != nil {
			log.Error("metrics are served over TCP no longer", "error", err)
		}
	}()
	return func() { cancel(); <-ended }, nil
}

// takeOverMetrics is serveMetrics at an address that the reaper before this one may not have let go of yet.
func takeOverMetrics(ctx context.Context, scrape *admin.Scrape, address string, log *slog.Logger) (stop func(), err error) {
	late := time.Now().Add(yieldTime)
	for {
		stop, err = serveMetrics(ctx, scrape, address, log)
		if !errors.Is(err, unix.EADDRINUSE) || time.Now().After(late) {
			return stop, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(tryEvery):
		}
	}
}
