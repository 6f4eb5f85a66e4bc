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

	"github.com/halfclose/halfclose/internal/dirwatch"
	"github.com/halfclose/halfclose/internal/writelog"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/census"
	"github.com/halfclose/halfclose/pkg/descriptors"
	"github.com/halfclose/halfclose/pkg/finder"
	disk "github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
	"github.com/halfclose/halfclose/pkg/prober"
	"github.com/halfclose/halfclose/pkg/state"
)

// Config is the configuration of a Reaper. Store, Root, Finder, Clock, Kernel and Log are required: New or Run panics
// if one is nil. The zero value of every other field is valid, as documented.
type Config struct {
	Store      *state.Store
	Root       *netns.Root // resolves the paths of records
	SwitchPath string      // the file of the node's mode switch; it may not exist
	PolicyFile policyfile.Location
	Finder     finder.Finder
	Clock      monotime.Clock

	Mode     policy.Mode   // caps the mode of every record; policy.Destroy is no cap, the zero value is policy.Off
	MinGrace time.Duration // raises shorter graces of records to it; 0 raises none
	// MaxDestroysPerSecond is the rate limit of the whole node; 0 is none.
	MaxDestroysPerSecond int
	// AllowHostNetns allows records of the host's own network namespace.
	AllowHostNetns bool
	// Owners finds the processes that hold sockets: it needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH for those of other
	// users. If it is nil, history entries have no owners, rules with commands match as if the owners were unknown, and no
	// peer is asked. OwnersBudget is the share of one core for the look-ups before a destroy, such as 0.005; 0 is no limit.
	Owners       owners.Resolver
	OwnersBudget float64
	// ProgressBudget is the share of one core for looks at sockets that are spared for their unread or unacknowledged bytes,
	// such as 0.005; 0 is no limit. It delays no destroy.
	ProgressBudget float64
	// Conditions returns which processes are frozen or stopped, and which SIGPIPE kills: see owners.Proc. If it is nil,
	// none counts as frozen, and every one as killed by SIGPIPE.
	Conditions func(ctx context.Context, pids []int) (map[int]owners.Condition, error)
	// Asker asks peers; if it is nil none is asked, and only the graces count.
	Asker Asker
	// Descriptors finds the processes that hold descriptors of ended sockets; nil watches none. Run runs it.
	Descriptors *descriptors.Tracker
	// Notify reports changes of the records and of the policy file; nil: a new one.
	Notify *dirwatch.Instance
	// Writes has the outcome of writing each file; nil: a new one.
	Writes *writelog.Log
	// Sample bounds the time between two looks at a half-closed socket; 0 does not.
	Sample time.Duration
	// IdleDir is the directory of the idle times, which halfclose simulate reads; if it is empty none are kept.
	IdleDir string
	// IdleExit is the time without any record after which Run returns ErrIdle; 0 disables it.
	IdleExit time.Duration

	// HistoryDir is the directory of the history on disk (see package history); "" keeps it in memory only.
	HistoryDir string
	// Trials run at the start, and again while an operation is refused. With the zero value nothing is tried.
	Trials Trials
	// Asking returns the figures of the Asker; nil if there are none.
	Asking func() prober.Stats
	// Adoption returns the state of adoption; nil if there is none.
	Adoption func() api.AdoptionView
	// MaxAsksPerSecond is the Asker's rate limit, for the status.
	MaxAsksPerSecond int

	// Kernel returns why this kernel, or these privileges, cannot destroy sockets: inetdiag.Probe.
	Kernel func() error
	Log    *slog.Logger
}

// ErrIdle is returned by Run if there has been no record for Config.IdleExit.
var ErrIdle = errors.New("no attachments for the time of --idle-exit")

// Reaper finds and destroys the half-closed sockets of registered network namespaces. Its methods are safe for
// concurrent use while Run runs.
type Reaper struct {
	cfg            Config
	boot           string
	began          time.Time
	opener         finder.Opener
	open           opener        // for the examiner
	save           time.Duration // how often the candidates are saved
	idleInterval   time.Duration // how often the idle times are saved
	probe          time.Duration // how often an attempt to write is made
	warnings       *warnings
	histograms     *histograms
	calls          chan func(*loop)
	store          *disk.Writer         // of the history; nil without one
	diskReads      chan struct{}        // a semaphore
	censusRequests chan chan<- struct{} // for a census at once; the watcher closes each after the census
	counted        chan struct{}        // closed after the first census
	ended          chan struct{}
	refresher      refresher
}

// New returns a reaper. It does nothing until Run.
func New(cfg Config) (*Reaper, error) {
	boot, err := netns.BootID()
	if err != nil {
		return nil, err
	}
	if cfg.Writes == nil {
		cfg.Writes = new(writelog.Log)
	}
	cfg.Writes.Expect(api.UnwritableNames()...)
	by := finder.Opener{Root: cfg.Root}
	r := &Reaper{
		cfg: cfg, boot: boot, began: cfg.Clock.Wall().UTC(), opener: by, warnings: newWarnings(cfg.Log), histograms: newHistograms(),
		open:  func(n finder.Netns) (conn, error) { return by.Open(n) },
		calls: make(chan func(*loop)), censusRequests: make(chan chan<- struct{}),
		save: defaultSaveInterval, idleInterval: idleInterval, probe: dirProbeInterval,
		counted: make(chan struct{}), ended: make(chan struct{}), diskReads: make(chan struct{}, 1),
	}
	if cfg.HistoryDir != "" {
		r.store = disk.NewWriter(disk.WriterConfig{
			Dir: cfg.HistoryDir, Run: disk.RunAt(r.began), Clock: cfg.Clock,
			Report: func(err error) {
				cfg.Writes.Report(api.UnwritableHistory, cfg.HistoryDir, err, cfg.Clock.Wall())
			},
			Warn: func(text string, args ...any) { r.warnings.warn(WarnHistory, text, args...) },
		})
	}
	return r, nil
}

// Run runs the reaper until ctx is done. Then it saves the candidates and returns nil. It may be called once. It needs
// CAP_SYS_ADMIN to enter network namespaces, and CAP_NET_ADMIN in the user namespaces that own them.
func (r *Reaper) Run(ctx context.Context) error {
	defer close(r.ended)
	never, err := r.hostNamespaces()
	if err != nil {
		return err
	}
	notify := r.cfg.Notify
	if notify == nil {
		notify = dirwatch.NewInstance()
		defer notify.Close()
	}
	l := newLoop(r.cfg, r.warnings, r.histograms, r.boot, r.kernelProblem())
	l.saveInterval = r.save
	l.access = newAccess(r.cfg.Trials, r.open)
	l.tryEntry()
	l.finder.Name = r.cfg.Finder.Name()
	l.saved = r.loadCandidates()
	stopHistory := r.startHistory() //nolint:contextcheck // it outlives ctx, to write the last lines
	defer stopHistory()
	if r.store != nil {
		l.history.store = r.store
	}

	g, ctx := errgroup.WithContext(ctx)
	targets := make(chan []finder.Netns, 1)
	jobs, results := make(chan *job, 1), make(chan *job, 1)
	var follower *policyfile.Follower
	if r.cfg.PolicyFile.Path != "" {
		at := r.cfg.PolicyFile
		at.Wrote = func(err error) { r.reportWrite(api.UnwritablePolicy, at.Copy, err) }
		follower = policyfile.NewFollower(at, r.cfg.Clock.Wall, notify)
		g.Go(func() error { return follower.Run(ctx) })
	}
	watcher := census.NewWatcher(census.Config{
		Store: r.cfg.Store, Root: r.cfg.Root, Clock: r.cfg.Clock, Boot: r.boot, Never: never, MinGrace: r.cfg.MinGrace, Follower: follower,
		Notify: notify, Log: r.cfg.Log, Warnings: r.warnings, Requests: r.censusRequests,
	})
	g.Go(func() error {
		announce := sync.OnceFunc(func() { close(r.counted) })
		return watcher.Run(ctx, func(u census.Update) {
			if r.do(ctx, func(l *loop) { l.applyCensus(u) }) {
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
		if r.cfg.Conditions != nil {
			e.owners.conditions = func(pids []int) map[int]owners.Condition {
				found, _ := r.cfg.Conditions(ctx, pids) // an owner without one counts as running
				return found
			}
		}
		for j := range jobs {
			l.progress.measure(j, func() { e.examine(j) })
			results <- j // never blocks: capacity 1, at most one job in flight
		}
		return nil
	})
	g.Go(func() error {
		l.owners.work(ctx)
		return nil
	})
	g.Go(func() error {
		l.access.work(ctx)
		return nil
	})
	idle := newIdleSaver(r.cfg.IdleDir, r.warnings, r.cfg.Writes)
	if r.cfg.IdleDir != "" {
		g.Go(func() error {
			r.saveIdleTimes(ctx, idle)
			return nil
		})
	}
	g.Go(func() error {
		r.probeDirs(ctx)
		return nil
	})
	if r.cfg.Descriptors != nil {
		g.Go(func() error {
			r.cfg.Descriptors.Run(ctx, r.suspects)
			return nil
		})
	}
	g.Go(func() error {
		defer close(jobs)
		err := l.run(ctx, r.calls, targets, jobs, results)
		if l.examining { // the destroys of the last job are counted too
			l.examined(<-results, l.clock.Now())
		}
		return err
	})
	err = g.Wait()
	newSaver(r.cfg.Store.CandidatesPath(), r.boot, r.warnings, r.cfg.Writes).save(l.newSavePieces(maxSavedCandidates))
	if r.cfg.IdleDir != "" {
		l.saveLastIdle(idle)
	}
	l.history.close(r.cfg.Clock.Wall())
	return err
}

// do runs fn on the loop and waits until it returns. It reports false if ctx is done or Run has returned before fn starts.
func (r *Reaper) do(ctx context.Context, fn func(*loop)) bool {
	done := make(chan struct{})
	call := func(l *loop) { defer close(done); fn(l) }
	select {
	case r.calls <- call:
		<-done // the loop runs every call that it receives
		return true
	case <-ctx.Done():
	case <-r.ended:
	}
	return false
}

// hostNamespaces returns the network namespaces whose records are refused: the reaper's own, and that of process 1.
func (r *Reaper) hostNamespaces() ([]netns.Identity, error) {
	if r.cfg.AllowHostNetns {
		return nil, nil
	}
	host, err := netns.FindHost()
	if err != nil {
		return nil, fmt.Errorf("identify the reaper's own network namespace: %w", err)
	}
	if host.PID1Err != nil {
		r.warnings.warn(WarnHostNetns, "cannot read /proc/1/ns/net: only the reaper's own network namespace is protected", "error", host.PID1Err,
			"needs", "CAP_SYS_PTRACE and every capability of process 1")
	}
	return host.Identities(), nil
}

// kernelProblem returns why sockets cannot be destroyed, "" if they can.
func (r *Reaper) kernelProblem() string {
	err := r.cfg.Kernel()
	switch {
	case err == nil:
		return ""
	case errors.Is(err, inetdiag.ErrUnsupported), errors.Is(err, inetdiag.ErrDenied):
		r.warnings.fail(WarnSockDestroy, "cannot destroy sockets: observing only", "error", err)
		return err.Error()
	default:
		// The probe failed in the reaper's own network namespace: in the containers' it may work.
		r.warnings.warn(WarnSockDestroy, "cannot probe whether sockets can be destroyed", "error", err)
		return ""
	}
}

// loadCandidates reads the candidates that the previous reaper saved. Without them ages restart from tcp_info.
func (r *Reaper) loadCandidates() (s savedAges) {
	path := r.cfg.Store.CandidatesPath()
	b, err := hostfs.ReadFile(path, maxSavedBytes, unix.O_NOFOLLOW)
	implausible := 0
	if err == nil {
		s.candidates, implausible, err = decodeCandidates(b, r.boot, r.cfg.Clock.Now())
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.missing = true
	case errors.Is(err, errOtherBoot): // none of its sockets exists
	case err != nil:
		s.lost = err.Error()
		r.warnings.warn(WarnSavedAges, "cannot load saved ages: ages restart from tcp_info", "file", path, "error", err)
	case implausible > 0:
		s.lost = fmt.Sprintf("%d saved ages have impossible times", implausible)
		r.warnings.warn(WarnSavedAges, "ignored saved ages with impossible times: these ages restart from tcp_info", "file", path, "sockets", implausible)
	}
	return s
}

// Reload reads the records, the policy file and the mode switch again, and opens the records' paths, even if no change was announced. When
// it returns, the reaper acts by them. It logs the numbers of records.
func (r *Reaper) Reload(ctx context.Context) error {
	applied := make(chan struct{})
	select {
	case r.censusRequests <- applied:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ended:
		return api.ErrStopped
	}
	select {
	case <-applied:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ended:
		return api.ErrStopped
	}
	return r.read(ctx, func(l *loop) {
		if l.caps.reload() {
			l.applyMode(l.clock.Now())
		}
		c := &l.registry.census
		l.log.Info("reloaded records and mode switch", "attachments", c.Active, "inert", len(c.Inert),
			"problems", len(c.Problems), "mode", l.caps.view.Effective.String())
	})
}
