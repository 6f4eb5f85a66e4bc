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

// isAddress reports whether text can be a --metrics-address: empty for no listener, or HOST:PORT.
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

// metricsListener serves metrics and health over TCP, from before the lock is taken until the process exits.
type metricsListener struct {
	scrape  *admin.Scrape
	address string // empty serves nothing
	log     *slog.Logger

	inUse bool   // another process had the address at open
	stop  func() // nil while nothing is served
}

// open serves until ctx ends or close is called. It fails if it cannot listen: a scraper could not distinguish that from a
// node without a reaper. With wait, an address in use is no error: the holder of the lock listens there, and takeOver takes
// the address.
func (m *metricsListener) open(ctx context.Context, wait bool) error {
	err := m.serve(ctx)
	if wait && errors.Is(err, unix.EADDRINUSE) {
		m.inUse = true
		m.log.Info("the metrics address is in use: waiting for it and for the lock", "address", m.address)
		return nil
	}
	return err
}

// takeOver listens at the address that was in use at open. The reaper before this one may not have closed it yet.
func (m *metricsListener) takeOver(ctx context.Context) error {
	if !m.inUse {
		return nil
	}
	deadline := time.Now().Add(handOverPatience)
	for {
		err := m.serve(ctx)
		if !errors.Is(err, unix.EADDRINUSE) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lockRetry):
		}
	}
}

func (m *metricsListener) serve(ctx context.Context) error {
	if m.address == "" {
		return nil
	}
	l, err := admin.ListenTCP(ctx, m.address)
	if err != nil {
		return err
	}
	m.log.Info("serving metrics over TCP", "address", l.Addr().String())
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := m.scrape.Serve(ctx, l); err != nil {
			m.log.Error("stopped serving metrics over TCP", "error", err)
		}
	}()
	m.stop = func() { cancel(); <-served }
	return nil
}

// close stops serving and waits for that.
func (m *metricsListener) close() {
	if m.stop != nil {
		m.stop()
	}
}
