// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/logging"
	"github.com/halfclose/halfclose/pkg/metrics"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// reap runs the reaper until ctx ends, another takes over or it has been idle for long.
func (e *env) reap(ctx context.Context, f reaperFlags, switchPath string) error {
	e.hangups = hangups()
	if err := e.checkStateDir(); err != nil {
		return err
	}
	store := e.store()
	if err := os.MkdirAll(store.Dir(), 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	log, closer, err := logging.New(logging.Options{
		Level: f.logLevel, Format: f.logFormat, Stderr: e.err, Auto: f.auto, File: store.LogPath(),
	})
	if err != nil {
		return err
	}
	defer closer.Close()
	e.logged = true
	if f.auto {
		if err := launch.Detach(); err != nil {
			log.Warn("leave the container runtime's surroundings", "error", err)
		}
	}
	err = e.hold(ctx, store, f, switchPath, log)
	if _, held := errors.AsType[*reaper.HeldError](err); held && f.auto {
		log.Info("reaper ends: one works already", "holder", err) // as of many pods that start at once
	} else if err != nil && f.auto {
		log.Error("reaper ends", "error", err) // nobody reads what it prints
	}
	return err
}

// hold takes the state directory's lock, and works while it holds it.
func (e *env) hold(ctx context.Context, store *state.Store, f reaperFlags, switchPath string, log *slog.Logger) error {
	me := api.Holder{PID: os.Getpid(), StartedBy: e.startedBy(f), Since: time.Now().Round(0), Version: buildinfo.Get().Version}
	root, err := netns.NewRoot(f.hostRoot)
	if err != nil {
		return err
	}
	defer root.Close()
	scrape := admin.NewScrape(log)
	stop, err := serveMetrics(ctx, scrape, f.metricsAddress, log) // while nothing has been touched yet
	inUse := f.wait && errors.Is(err, unix.EADDRINUSE)
	switch {
	case inUse:
		log.Info("the metrics address is in use: waiting for it as for the lock", "address", f.metricsAddress)
	case err != nil:
		return err
	default:
		defer stop()
	}
	t := turn{me: me, path: store.LockPath(), client: admin.NewClient(store.SocketPath()), wait: f.wait, scrape: scrape, log: log}
	lock, err := t.take(ctx)
	if err != nil || lock == nil {
		return err
	}
	defer lock.Release()
	if inUse {
		if stop, err = takeOverMetrics(ctx, scrape, f.metricsAddress, log); err != nil {
			return err
		}
		defer stop()
	}
	defer context.AfterFunc(ctx, stopping)()
	// With tens of thousands of candidates, memory that waits to be collected would be most of it.
	debug.SetGCPercent(30)
	senses, err := reaper.Choose(f.finder, func() (*reaper.Kernel, error) { return reaper.LoadPrograms(f.bpfSockets) }, root, float64(f.cpuBudget))
	if err != nil {
		return err
	}
	defer senses.Close()
	debug.FreeOSMemory() // to load programs, the kernel's types are read, once
	log.Info("reaper starts", "version", me.Version, "state_dir", store.Dir(), "mode", f.mode.String(), "started_by", string(me.StartedBy))
	for {
		err := e.serve(ctx, me, lock, store, scrape, reaper.Config{
			Store: store, Root: root, SwitchPath: switchPath, Finder: senses.Finder,
			Mode: f.mode, MinGrace: f.minGrace, MaxDestroysPerSecond: f.destroysPerSecond, AllowHostNetns: f.allowHostNetns,
			IdleExit: f.idleExit, Kernel: inetdiag.Probe, Log: log,
			// A quarter of what sweeping may cost, on top of that.
			Owners: senses.Owners, OwnersBudget: float64(f.cpuBudget) / 4,
		})
		if !errors.Is(err, reaper.ErrIdle) {
			if err == nil {
				log.Info("reaper ends")
			}
			return err
		}
		// A plugin that recorded an attachment while the socket was still there has started no reaper.
		if listing, err := store.List(); err == nil && len(listing.Records) == 0 {
			log.Info("reaper ends: there are no attachments", "for", f.idleExit)
			return nil
		}
	}
}

// serve runs a reaper and its HTTP API side by side, until one of them ends.
func (e *env) serve(ctx context.Context, me api.Holder, lock *reaper.Lock, store *state.Store, scrape *admin.Scrape, cfg reaper.Config) error {
	listener, err := admin.Listen(store.SocketPath())
	if err != nil {
		return err
	}
	r, err := reaper.New(cfg)
	if err != nil {
		listener.Close()
		return err
	}
	ctx, handOver := context.WithCancel(ctx)
	defer handOver()
	g, ctx := errgroup.WithContext(ctx)
	server := admin.Server{
		Reaper: r, Holder: me, HandOver: handOver, Log: cfg.Log,
		Figures: func(ctx context.Context) ([]byte, error) { return metrics.Of(ctx, r, me.Since) },
	}
	scrape.For(&server)
	defer scrape.None("the reaper has ended its work")
	g.Go(func() error { return server.Serve(ctx, listener) })
	g.Go(func() error {
		defer handOver() // without a reaper there is nothing to serve
		return r.Run(ctx)
	})
	g.Go(func() error { return watchLock(ctx, lock) })
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		newService(r, e.hangups, cfg.Log).follow(ctx)
	}()
	err = g.Wait()
	select {
	case <-followed:
	case <-time.After(graceTime): // the service manager does not listen
	}
	if lock.Valid() == nil { // else it is another reaper's by now
		if gone := os.Remove(store.SocketPath()); !os.IsNotExist(gone) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// watchLock ends the reaper when its lock is no longer what keeps others away.
func watchLock(ctx context.Context, lock *reaper.Lock) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := lock.Valid(); err != nil {
				return err
			}
		}
	}
}

func (e *env) startedBy(f reaperFlags) api.StartedBy {
	switch {
	case f.auto:
		return api.ByPlugin
	case e.getenv("INVOCATION_ID") != "":
		return api.BySystemd
	}
	return api.ByCommand
}
