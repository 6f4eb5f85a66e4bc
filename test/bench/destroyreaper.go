// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// destroyGrace is the grace of the leak. It starts at the first look at a socket, so all sockets are found before the first
// is due.
const destroyGrace = 6 * time.Second

// byReaper destroys the leaked sockets with a reaper without a rate limit.
func byReaper(ctx context.Context, o options, targets []finder.Netns) (_ []cost, err error) {
	dir, err := os.MkdirTemp(runDir, "destroy-")
	if err != nil {
		return nil, err
	}
	store := state.New(dir)
	p := policy.Default()
	p.CloseWaitGrace, p.FinWait2Grace = policy.Patience(destroyGrace), policy.Patience(destroyGrace)
	if err := record(store, targets, p); err != nil {
		return nil, err
	}
	clock, err := monotime.System()
	if err != nil {
		return nil, err
	}
	root, err := netns.NewRoot("")
	if err != nil {
		return nil, err
	}
	defer root.Close()
	finder := &sweepOnce{Finder: finder.NewSockDiag(finder.Config{Root: root, Clock: clock, CPUBudget: 100}), swept: make(chan struct{})}
	r, err := reaper.New(reaper.Config{
		Store: store, Root: root, SwitchPath: filepath.Join(dir, "mode"), Finder: finder, Clock: clock, Mode: policy.Destroy,
		MinGrace: time.Second, Kernel: inetdiag.Probe, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, 2*patience)
	defer stop()
	began := self()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	select {
	case <-finder.swept:
	case <-ctx.Done():
		return nil, fmt.Errorf("find the sockets to destroy: %w", ctx.Err())
	}
	// No socket is due yet. Before it answers, the reaper has processed the last sweep.
	if status, err := r.Status(ctx); err != nil || status.Counts.Destroyed[inetdiag.CloseWait] != 0 {
		return nil, errors.Join(err, errors.New("sockets were destroyed before all were found: the machine is too busy to measure"))
	}
	found := self()
	want := len(targets) * leak().Closed
	profiled, err := profile(o.profile)
	if err == nil {
		err = awaitDestroyed(ctx, r, uint64(want))
		profiled()
	}
	ends := self()
	return []cost{{reaperName, want, ends - found}, {foundName, want, ends - began}}, err
}

// awaitDestroyed waits until a reaper has destroyed this number of sockets. It queries at the time when all should be
// destroyed, and rarely after that: an answer costs CPU time of the reaper.
func awaitDestroyed(ctx context.Context, r *reaper.Reaper, want uint64) error {
	if err := pause(ctx, destroyGrace+time.Second); err != nil {
		return err
	}
	return poll(ctx, patience, time.Second/2, fmt.Sprintf("%d sockets are destroyed", want), func() (bool, error) {
		status, err := r.Status(ctx)
		if err != nil {
			return false, err
		}
		c := status.Counts
		if c.Gone != 0 || len(c.Errors) > 0 || c.Destroyed[inetdiag.FinWait2] != 0 {
			return false, fmt.Errorf("the reaper counts %+v, want only sockets in CLOSE_WAIT destroyed", c)
		}
		return c.Destroyed[inetdiag.CloseWait] == want, nil
	})
}

// profile starts a CPU profile in the first unused file of this name and a number. Without a name it does nothing.
func profile(name string) (stop func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	for i := 0; ; i++ {
		f, err := os.OpenFile(name+strconv.Itoa(i), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			return nil, err
		}
		return func() {
			pprof.StopCPUProfile()
			f.Close()
		}, nil
	}
}
