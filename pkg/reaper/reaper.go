// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/namespace"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Config is what a reaper needs to know.
type Config struct {
	Store      *state.Store
	Root       *namespace.Root // where records' paths resolve
	SwitchPath string          // where the node's mode switch is kept
	Finder     Finder

	Mode     policy.Mode   // the cap on every record's mode
	MinGrace time.Duration // no grace is shorter
	// MaxDestroysPerSecond bounds the whole node; 0 is no bound.
	MaxDestroysPerSecond int
	// AllowHostNetns lets records of the host's own namespace be acted on.
	AllowHostNetns bool
	// IdleExit ends the reaper after so long without a record; 0 never does.
	IdleExit time.Duration

	// Kernel says whether this kernel lets sockets be destroyed: inetdiag.Probe.
	Kernel func() error
	Log    *slog.Logger
}

// ErrIdle is what Run returns when there has been no record for Config.IdleExit.
var ErrIdle = errors.New("no record for the idle time")

// ErrStopped is what the reaper's other methods return when Run has ended.
var ErrStopped = errors.New("the reaper is stopping")

// Reaper is the shared reaper. Its methods may be called from any goroutine, while Run runs.
type Reaper struct {
	cfg    Config
	boot   string
	opener opener
	calls  chan func(*loop)
	ended  chan struct{}
}

// New makes a reaper; nothing happens until Run.
func New(cfg Config) (*Reaper, error) {
	boot, err := namespace.BootID()
	if err != nil {
		return nil, err
	}
	return &Reaper{
		cfg: cfg, boot: boot, opener: opener{cfg.Root},
		calls: make(chan func(*loop)), ended: make(chan struct{}),
	}, nil
}

// Run works until ctx ends, when it saves what it knows of the candidates and returns nil. It may be called
// once. It needs CAP_SYS_ADMIN to enter namespaces and CAP_NET_ADMIN in the user namespaces that own them.
func (r *Reaper) Run(ctx context.Context) error {
	defer close(r.ended)
	never, err := hostNamespaces(r.cfg.AllowHostNetns)
	if err != nil {
		return err
	}
	l := newLoop(r.cfg, r.boot, r.kernelProblem())
	l.restorable = r.loadCandidates()

	g, ctx := errgroup.WithContext(ctx)
	targets := make(chan []Target, 1)
	jobs, results := make(chan *job, 1), make(chan *job)
	g.Go(func() error {
		w := watcher{store: r.cfg.Store, root: r.cfg.Root, boot: r.boot, never: never, log: r.cfg.Log}
		return w.watch(ctx, func(c census) { r.do(ctx, func(l *loop) { l.counted(c) }) })
	})
	g.Go(func() error {
		err := r.cfg.Finder.Find(ctx, targets, func(f Finding) { r.do(ctx, func(l *loop) { l.found(f) }) })
		if err != nil {
			return fmt.Errorf("finder %s: %w", r.cfg.Finder.Name(), err)
		}
		return nil
	})
	g.Go(func() error {
		e := examiner{opener: r.opener}
		for {
			select {
			case j := <-jobs:
				e.examine(j)
				select {
				case results <- j:
				case <-ctx.Done():
					return nil
				}
			case <-ctx.Done():
				return nil
			}
		}
	})
	g.Go(func() error { return l.run(ctx, r.calls, targets, jobs, results) })
	err = g.Wait()
	newSaver(r.cfg.Store.CandidatesPath(), r.cfg.Log).write(l.encode())
	l.journal.flush()
	return err
}

// do runs fn on the loop and waits for its end. It reports whether fn has run: not if ctx or Run ended
// first.
func (r *Reaper) do(ctx context.Context, fn func(*loop)) bool {
	done := make(chan struct{})
	call := func(l *loop) { defer close(done); fn(l) }
	select {
	case r.calls <- call:
		<-done // the loop runs every call that it takes
		return true
	case <-ctx.Done():
	case <-r.ended:
	}
	return false
}

// hostNamespaces returns the namespaces that are not touched whatever is recorded: the one that the reaper
// runs in, and that of the first process.
func hostNamespaces(allowed bool) ([]namespace.Identity, error) {
	if allowed {
		return nil, nil
	}
	own, err := namespace.Own()
	if err != nil {
		return nil, fmt.Errorf("identify the reaper's own namespace: %w", err)
	}
	defer own.Close()
	never := []namespace.Identity{own.Stat()}
	first, err := namespace.Open("/proc/1/ns/net")
	if err != nil {
		return never, nil //nolint:nilerr // it may not be looked at from here, and then neither can a record of it have been made
	}
	defer first.Close()
	return append(never, first.Stat()), nil
}

// kernelProblem says why nothing can be destroyed here, "" if something can.
func (r *Reaper) kernelProblem() string {
	err := r.cfg.Kernel()
	switch {
	case err == nil:
		return ""
	case errors.Is(err, inetdiag.ErrUnsupported), errors.Is(err, inetdiag.ErrDenied):
		r.cfg.Log.Error("no socket can be destroyed here: observing only", "error", err)
		return err.Error()
	default:
		// The probe itself did not work, which says nothing of the containers' namespaces.
		r.cfg.Log.Warn("whether sockets can be destroyed here could not be tried", "error", err)
		return ""
	}
}

// loadCandidates reads what the reaper before this one saved.
func (r *Reaper) loadCandidates() []savedCandidate {
	path := r.cfg.Store.CandidatesPath()
	b, err := os.ReadFile(path)
	if err != nil {
		if !os.IsNotExist(err) {
			r.cfg.Log.Warn("read the saved candidates: ages are what the kernel can prove", "error", err)
		}
		return nil
	}
	all, err := decodeCandidates(b, r.boot, now())
	switch {
	case errors.Is(err, errOtherBoot):
	case err != nil:
		r.cfg.Log.Warn("take over the saved candidates: ages are what the kernel can prove", "file", path, "error", err)
	}
	return all
}
