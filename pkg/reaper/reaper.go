// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
	"github.com/halfclose/halfclose/pkg/state"
)

// Config is what a reaper needs to know.
type Config struct {
	Store      *state.Store
	Root       *netns.Root // where records' paths resolve
	SwitchPath string      // where the node's mode switch is kept
	Finder     finder.Finder
	Clock      monotime.Clock

	Mode     policy.Mode   // the cap on every record's mode
	MinGrace time.Duration // no grace is shorter
	// MaxDestroysPerSecond bounds the whole node; 0 is no bound.
	MaxDestroysPerSecond int
	// AllowHostNetns lets records of the host's own namespace be acted on.
	AllowHostNetns bool
	// Owners finds who holds sockets; without it the history names nobody. OwnersBudget is the share of one core
	// that it may cost to find the owners of what is destroyed, such as 0.005; 0 is no bound.
	Owners       owners.Resolver
	OwnersBudget float64
	// Conditions finds out what processes can do about their sockets: owners.Proc's. Without it none is frozen, and
	// each dies of SIGPIPE.
	Conditions func(ctx context.Context, pids []int) (map[int]owners.Condition, error)
	// Asker asks peers; without it the graces alone count.
	Asker Asker
	// IdleExit ends the reaper after so long without a record; 0 never does.
	IdleExit time.Duration

	// Trials try at the start what the reaper needs, and again while something is refused; none without them.
	Trials Trials
	// Asking returns the figures of what asks peers; nil without it.
	Asking func() prober.Stats
	// MaxAsksPerSecond is the Asker's bound.
	MaxAsksPerSecond int

	// Kernel says whether this kernel lets sockets be destroyed: inetdiag.Probe.
	Kernel func() error
	Log    *slog.Logger
}

// ErrIdle is what Run returns when there has been no record for Config.IdleExit.
var ErrIdle = errors.New("no record for the idle time")

// Reaper is the shared reaper. Its methods may be called from any goroutine, while Run runs.
type Reaper struct {
	cfg        Config
	boot       string
	began      time.Time
	opener     finder.Opener
	open       opener        // for the examiner
	save       time.Duration // how often the candidates are saved
	warnings   *warnings
	histograms *histograms
	calls      chan func(*loop)
	recounts   chan chan<- struct{} // who asks for a census now; closed once that has been taken in
	counted    chan struct{}        // closed once the records have been read
	ended      chan struct{}
}

// New makes a reaper; nothing happens until Run.
func New(cfg Config) (*Reaper, error) {
	boot, err := netns.BootID()
	if err != nil {
		return nil, err
	}
	by := finder.Opener{Root: cfg.Root}
	return &Reaper{
		cfg: cfg, boot: boot, began: cfg.Clock.Wall().UTC(), opener: by, warnings: newWarnings(cfg.Log), histograms: newHistograms(),
		open:  func(n finder.Netns) (conn, error) { return by.Open(n) },
		calls: make(chan func(*loop)), recounts: make(chan chan<- struct{}),
		save:    defaultSaveEvery,
		counted: make(chan struct{}), ended: make(chan struct{}),
	}, nil
}

// Run works until ctx ends, when it saves what it knows of the candidates and returns nil. It may be called
// once. It needs CAP_SYS_ADMIN to enter namespaces and CAP_NET_ADMIN in the user namespaces that own them.
func (r *Reaper) Run(ctx context.Context) error {
	defer close(r.ended)
	never, err := r.hostNamespaces()
	if err != nil {
		return err
	}
	l := newLoop(r.cfg, r.warnings, r.histograms, r.boot, r.kernelProblem())
	l.saveEvery = r.save
	l.reach = newReach(r.cfg.Trials, r.open)
	l.tryFirst()
	l.finder.Name = r.cfg.Finder.Name()
	l.saved = r.loadCandidates()

	g, ctx := errgroup.WithContext(ctx)
	targets := make(chan []finder.Netns, 1)
	jobs, results := make(chan *job, 1), make(chan *job, 1)
	g.Go(func() error {
		w := watcher{
			store: r.cfg.Store, root: r.cfg.Root, clock: r.cfg.Clock, boot: r.boot, never: never, log: r.cfg.Log, warnings: r.warnings,
			asked: r.recounts, minGrace: r.cfg.MinGrace,
		}
		announce := sync.OnceFunc(func() { close(r.counted) })
		return w.watch(ctx, func(c census) {
			if r.do(ctx, func(l *loop) { l.counted(c) }) {
				announce()
			}
		})
	})
	g.Go(func() error {
		err := r.cfg.Finder.Find(ctx, targets, finderSink{reaper: r, ctx: ctx, costs: &l.finderCosts})
		if err != nil {
			return fmt.Errorf("finder %s: %w", r.cfg.Finder.Name(), err)
		}
		return nil
	})
	g.Go(func() error {
		e := examiner{open: r.open, clock: r.cfg.Clock}
		for j := range jobs {
			e.examine(j)
			results <- j // has room: there is only this one
		}
		return nil
	})
	g.Go(func() error {
		l.attribution.work(ctx)
		return nil
	})
	g.Go(func() error {
		l.reach.work(ctx)
		return nil
	})
	g.Go(func() error {
		defer close(jobs)
		err := l.run(ctx, r.calls, targets, jobs, results)
		if l.busy { // what is destroyed is accounted for, also at the end
			l.examined(<-results, l.clock.Now())
		}
		return err
	})
	err = g.Wait()
	newSaver(r.cfg.Store.CandidatesPath(), r.warnings).save(l.encode)
	l.history.flush()
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
func (r *Reaper) hostNamespaces() ([]netns.Identity, error) {
	if r.cfg.AllowHostNetns {
		return nil, nil
	}
	host, err := netns.FindHost()
	if err != nil {
		return nil, fmt.Errorf("identify the reaper's own namespace: %w", err)
	}
	if host.PID1Err != nil {
		r.warnings.warn(WarnHostNetns, "the first process's network namespace cannot be seen: of the host's namespaces only the reaper's own is sure to be refused; it needs CAP_SYS_PTRACE and every capability of that process", "error", host.PID1Err)
	}
	return host.Identities(), nil
}

// kernelProblem says why nothing can be destroyed here, "" if something can.
func (r *Reaper) kernelProblem() string {
	err := r.cfg.Kernel()
	switch {
	case err == nil:
		return ""
	case errors.Is(err, inetdiag.ErrUnsupported), errors.Is(err, inetdiag.ErrDenied):
		r.warnings.fail(WarnSockDestroy, "no socket can be destroyed here: observing only", "error", err)
		return err.Error()
	default:
		// The probe itself did not work, which says nothing of the containers' namespaces.
		r.warnings.warn(WarnSockDestroy, "whether sockets can be destroyed here could not be tried", "error", err)
		return ""
	}
}

// loadCandidates reads what the reaper before this one saved. Without it ages are what the kernel can prove.
func (r *Reaper) loadCandidates() (s savedAges) {
	path := r.cfg.Store.CandidatesPath()
	b, err := hostfs.ReadFile(path, maxSaved, unix.O_NOFOLLOW)
	implausible := 0
	if err == nil {
		s.candidates, implausible, err = decodeCandidates(b, r.boot, r.cfg.Clock.Now())
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.missing = true
	case errors.Is(err, errOtherBoot): // no socket is that old
	case err != nil:
		s.lost = err.Error()
		r.warnings.warn(WarnCandidates, "take over the saved candidates: ages are what the kernel can prove", "file", path, "error", err)
	case implausible > 0:
		s.lost = fmt.Sprintf("%d saved candidates have times that cannot be", implausible)
		r.warnings.warn(WarnCandidates, "some saved candidates have times that cannot be: their ages are what the kernel can prove", "file", path, "candidates", implausible)
	}
	return s
}
