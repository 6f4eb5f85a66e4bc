// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/halfclose/halfclose/internal/dirwatch"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/adopt"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/descriptors"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/metrics"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/prober"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/simulate"
)

// work runs reapers, one after the other, until there is a reason to exit. An idle reaper removes its socket before work
// lists the records again: a plugin that recorded an attachment before that has not started a reaper and relies on this
// process.
func (d *Daemon) work(ctx context.Context) error {
	for {
		err := d.serve(ctx)
		if !errors.Is(err, reaper.ErrIdle) {
			if err == nil {
				d.log.Info("reaper exits")
			}
			return err
		}
		if listing, err := d.store.List(ctx); err == nil && len(listing.Records) == 0 {
			d.log.Info("reaper exits: idle without attachments", "for", d.cfg.IdleExit)
			return nil
		}
	}
}

func (d *Daemon) reaperConfig() reaper.Config {
	processes := owners.NewProc("/proc")
	return reaper.Config{
		Writes: d.writes, Descriptors: d.newTracker(processes),
		Store: d.store, Root: d.root, SwitchPath: d.cfg.SwitchPath, Finder: d.backend.Finder, Clock: d.clock,
		PolicyFile: policyfile.Location{Path: d.cfg.PolicyFile, Named: d.cfg.PolicyFileNamed, Copy: policyfile.CopyPath(d.store.Dir())},
		Mode:       d.cfg.Mode, MinGrace: d.cfg.MinGrace, MaxDestroysPerSecond: d.cfg.MaxDestroysPerSecond, AllowHostNetns: d.cfg.AllowHostNetns,
		HistoryDir: history.Dir(d.store.Dir()), IdleDir: simulate.Dir(d.store.Dir()), Sample: d.cfg.Sample,
		IdleExit: d.cfg.IdleExit, MaxAsksPerSecond: d.cfg.MaxAsksPerSecond, Kernel: inetdiag.Probe, Log: d.log,
		// Owner lookups have a quarter of the sweeps' budget in addition to it.
		Owners: d.backend.Owners, OwnersBudget: d.cfg.CPUBudget / 4, ProgressBudget: d.cfg.CPUBudget / 4, Conditions: processes.Conditions,
		Trials: reaper.Trials{Enter: finder.TryOpen, Processes: processes.TryAccess},
	}
}

// newTracker returns a tracker of descriptors. It works within a twentieth of the sweeps' budget, in addition to it.
func (d *Daemon) newTracker(processes *owners.Proc) *descriptors.Tracker {
	return descriptors.New(descriptors.Config{
		Processes: processes, Clock: d.clock, Budget: d.cfg.CPUBudget / 20, Path: filepath.Join(d.store.Dir(), "descriptors"), Boot: d.boot,
		Writes: d.writes, Log: d.log,
	})
}

// newReaper returns a reaper and the prober that asks peers for it. If no peers are asked, the prober only restores the
// socket options that an earlier reaper changed.
func (d *Daemon) newReaper(adopter *adopt.Adopter, notify *dirwatch.Instance) (*reaper.Reaper, *prober.Prober, error) {
	cfg := d.reaperConfig()
	cfg.Adoption, cfg.Notify = adopter.View, notify
	var r *reaper.Reaper
	asked := filepath.Join(d.store.Dir(), "asked")
	p, err := prober.New(prober.Config{
		Dir: asked, Opener: finder.Opener{Root: d.root}, Clock: d.clock,
		MaxPerSecond: d.cfg.MaxAsksPerSecond, Budget: d.cfg.AskCPUBudget, Log: d.log,
		Wrote:    func(err error) { d.writes.Report(api.UnwritableAsked, asked, err, time.Now()) },
		Answered: func(answers []prober.Answer) { r.Answered(answers) },
	})
	if err != nil {
		return nil, nil, err
	}
	cfg.Asking = p.Stats
	if cfg.MaxAsksPerSecond > 0 {
		cfg.Asker = p
	}
	r, err = reaper.New(cfg)
	return r, p, err
}

// newAdopter returns the Adopter of this node's running containers.
func (d *Daemon) newAdopter(notify *dirwatch.Instance) (*adopt.Adopter, error) {
	return adopt.New(adopt.Config{
		Store: d.store, Root: d.root, HostRoot: d.cfg.HostRoot, Clock: d.clock, CacheDirs: d.cfg.CNICaches, ConfDirs: d.cfg.CNIConfDirs,
		NetnsDirs: hostfs.NetnsDirs(), Enabled: d.cfg.Adopt, Mounted: d.cfg.AdoptNetns, Log: d.log, Notify: notify,
	})
}

// serve runs a reaper and its HTTP API side by side, until one of them returns.
func (d *Daemon) serve(ctx context.Context) error {
	listener, err := admin.Listen(d.store.SocketPath())
	if err != nil {
		return err
	}
	notify := dirwatch.NewInstance()
	defer notify.Close()
	adopter, err := d.newAdopter(notify)
	if err != nil {
		listener.Close()
		return err
	}
	r, asker, err := d.newReaper(adopter, notify) //nolint:contextcheck // an answer waits for the loop until the reaper has ended
	if err != nil {
		listener.Close()
		return err
	}
	ctx, handOver := context.WithCancel(ctx)
	defer handOver()
	g, ctx := errgroup.WithContext(ctx)
	server := admin.Server{
		Reaper: r, Holder: d.me, HandOver: handOver, Log: d.log,
		Metrics: metrics.NewExporter(r, buildinfo.Get()).Text, Full: r.WarnConnections,
		Process: admin.Process{Config: d.config, SetLogLevel: d.setLogLevel},
	}
	d.metrics.scrape.SetServer(&server)
	defer d.metrics.scrape.SetUnavailable("the reaper has stopped")
	g.Go(func() error { return server.Serve(ctx, listener) })
	g.Go(func() error {
		defer handOver() // without a reaper there is nothing to serve
		return r.Run(ctx)
	})
	g.Go(func() error { return asker.Run(ctx) })
	g.Go(func() error { return adopter.Run(ctx) })
	g.Go(func() error { return d.watchLock(ctx, notify) })
	notified := make(chan struct{})
	go func() {
		defer close(notified)
		newNotifier(r, d.hangups, d.log).run(ctx)
	}()
	err = g.Wait()
	select {
	case <-notified:
	case <-time.After(notifyPatience): // the service manager does not read its socket
	}
	return errors.Join(err, d.removeSocket())
}

// notifyPatience bounds how long a stopped reaper waits for its last message to the service manager.
const notifyPatience = time.Second

// removeSocket removes the socket of the HTTP API, unless the lock was lost: then the socket is another reaper's.
func (d *Daemon) removeSocket() error {
	if d.lock.Valid() != nil {
		return nil
	}
	if err := os.Remove(d.store.SocketPath()); !os.IsNotExist(err) {
		return err
	}
	return nil
}

// The times between two checks that the lock's file was not removed or replaced.
const (
	lockDebounce      = 10 * time.Millisecond
	lockCheckInterval = 30 * time.Second // without a change in its directory
	lockPollInterval  = time.Second      // where changes are not announced
)

// watchLock returns an error once the lock no longer keeps other reapers out.
func (d *Daemon) watchLock(ctx context.Context, notify *dirwatch.Instance) error {
	dirs := notify.Watch(dirwatch.Config{Debounce: lockDebounce, Recheck: lockCheckInterval, Poll: lockPollInterval})
	defer dirs.Close()
	for {
		_ = dirs.Follow(d.store.Dir()) // else it polls
		if err := d.lock.Valid(); err != nil {
			return err
		}
		timer := time.NewTimer(dirs.Interval())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-dirs.Changes():
			timer.Stop()
		}
	}
}
