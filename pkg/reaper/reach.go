// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
)

// Trials try what the reaper needs, and change nothing. A capability that is held proves little: a seccomp filter or a
// security module may refuse what it allows.
type Trials struct {
	Enter     func() error                                     // entering a network namespace: finder.TryOpen
	Processes func(ctx context.Context) (owners.Access, error) // finding owners and asking peers: owners.Proc's TryAccess
}

// reach is what the reaper is kept from, as trying has shown. The loop owns it, and waits for no trial.
type reach struct {
	trials Trials
	open   opener
	orders chan *trial // for the goroutine that tries
	done   chan *trial // by it

	busy      bool
	started   bool          // there has been a trial
	next      monotime.Time // no trial before
	processes monotime.Time // nor one of the processes
	interval  time.Duration // between two of those

	enter    error // why no network namespace can be entered; nil if one can
	access   owners.Access
	reported map[string]bool // the refusals that were logged, by kind
}

// trial is one round of trials.
type trial struct {
	processes bool
	netns     []finder.Netns // to be entered

	enter   error
	access  owners.Access
	err     error // why the processes could not be tried
	entered []error
}

const (
	// tryAgain is the time between two trials while something is refused.
	tryAgain = 10 * time.Second
	// maxTryProcesses bounds the time between two trials of the processes, which may be thousands: some refuse for ever.
	maxTryProcesses = 5 * time.Minute
	// maxTryNetns is how many network namespaces one round tries to enter.
	maxTryNetns = 256
)

func newReach(trials Trials, open opener) reach {
	return reach{
		trials: trials, open: open, interval: tryAgain, reported: make(map[string]bool),
		orders: make(chan *trial, 1), done: make(chan *trial, 1),
	}
}

// tryFirst tries to enter a network namespace before anything else is done: what follows would be reported as failures
// of each.
func (l *loop) tryFirst() {
	if l.reach.trials.Enter != nil {
		l.setEntry(l.reach.trials.Enter())
		l.reportRefusals()
	}
}

// setEntry takes in whether a network namespace could be entered.
func (l *loop) setEntry(err error) {
	problem := ""
	l.reach.enter = nil
	if finder.IsRefused(err) { // another error, such as too many open files, says nothing of what is refused
		l.reach.enter, problem = err, err.Error()
	}
	if l.caps.setNetnsProblem(problem) {
		l.remode(l.clock.Now())
	}
}

// work tries, until ctx ends.
func (r *reach) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-r.orders:
			r.try(ctx, t)
			r.done <- t // never blocks: capacity 1, at most one trial in flight
		}
	}
}

func (r *reach) try(ctx context.Context, t *trial) {
	t.enter = r.trials.Enter()
	if t.processes {
		t.access, t.err = r.trials.Processes(ctx)
	}
	for _, n := range t.netns {
		c, err := r.open(n)
		if err == nil {
			err = c.Close()
		}
		t.entered = append(t.entered, err)
	}
}

// try has a round of trials made where one is due: at the start, of each network namespace that is new, and again while
// something is refused.
func (l *loop) try(now monotime.Time) {
	r := &l.reach
	if r.trials.Enter == nil || r.busy {
		return
	}
	t := &trial{processes: !now.Before(r.processes)}
	again := !now.Before(r.next)
	for _, ns := range l.registry.namespaces {
		if ns.watched() && (!ns.tried || ns.unreachable != "" && again) && len(t.netns) < maxTryNetns {
			t.netns = append(t.netns, ns.Netns)
		}
	}
	refused := r.enter != nil || r.access.List.Count > 0 || r.access.Receive.Count > 0
	if r.started && len(t.netns) == 0 && (!refused || !again) {
		return
	}
	t.processes = t.processes && (!r.started || r.access.List.Count > 0 || r.access.Receive.Count > 0)
	r.busy, r.started, r.next = true, true, now.Add(tryAgain)
	if t.processes {
		r.processes, r.interval = now.Add(r.interval), min(2*r.interval, maxTryProcesses)
	}
	r.orders <- t
}

// tried takes in what a round of trials has shown.
func (l *loop) tried(t *trial) {
	r := &l.reach
	r.busy = false
	l.setEntry(t.enter)
	switch {
	case t.processes && t.err != nil:
		l.log.Debug("try what may be done with processes", "error", t.err)
	case t.processes:
		r.access = t.access
	}
	for i, n := range t.netns {
		ns := l.registry.namespaces[n.Identity]
		switch err := t.entered[i]; {
		case ns == nil:
		case err == nil || finder.IsRefused(err):
			ns.tried = true
			l.noteEntry(ns, err)
		default: // gone, mostly; else the finder reports it
			ns.tried = true
		}
	}
	l.reportRefusals()
}

// noteEntry notes that a network namespace could be entered, or could not.
func (l *loop) noteEntry(ns *registered, err error) {
	switch {
	case err == nil:
		ns.unreachable = ""
	case finder.IsRefused(err):
		ns.unreachable = err.Error()
	}
}

// unreachable counts the network namespaces in which something is looked for and that cannot be entered.
func (l *loop) unreachable() (n int) {
	for _, ns := range l.registry.namespaces {
		if ns.watched() && (ns.unreachable != "" || l.reach.enter != nil) {
			n++
		}
	}
	return n
}

// refusals lists what the reaper is kept from, the worst first.
func (l *loop) refusals() []api.RefusalView {
	var list []api.RefusalView
	r := &l.reach
	if err := r.enter; err != nil {
		v := api.RefusalView{Kind: api.RefusedNetns, Fatal: true, Problem: err.Error(), Do: adviseEntry(err), Count: l.unreachable(), Of: len(l.registry.namespaces)}
		if isNetlink(err) {
			v.Kind = api.RefusedNetlink
		}
		list = append(list, v)
	} else if n := l.unreachable(); n > 0 {
		list = append(list, api.RefusalView{
			Kind: api.RefusedNetns, Problem: l.firstUnreachable(), Count: n, Of: len(l.registry.namespaces),
			Do: "the reaper needs CAP_SYS_ADMIN in the user namespace that owns them, and no seccomp filter or security module (SELinux, AppArmor) that refuses setns",
		})
	}
	if d := r.access.List; d.Count > 0 && l.finder.Name == finder.NameSockDiag { // the bpf finder asks no process
		list = append(list, api.RefusalView{
			Kind: api.RefusedOwners, Problem: fmt.Sprintf("%v: %v", d.First, d.Err), Count: d.Count, Of: r.access.Processes,
			Do: "grant CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, in the user namespaces of the containers too",
		})
	}
	if d := r.access.Receive; d.Count > 0 && l.tracker.canAsk {
		list = append(list, api.RefusalView{
			Kind: api.RefusedPeers, Problem: fmt.Sprintf("%v: %v", d.First, d.Err), Count: d.Count, Of: r.access.Processes, Do: advisePeers(d.Err),
		})
	}
	return list
}

// firstUnreachable returns why one of the network namespaces cannot be entered, the same one each time.
func (l *loop) firstUnreachable() string {
	var all []string
	for _, ns := range l.registry.namespaces {
		if ns.watched() && ns.unreachable != "" {
			all = append(all, ns.unreachable)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.Min(all)
}

func isNetlink(err error) bool {
	_, ok := errors.AsType[*inetdiag.OpenError](err)
	return ok
}

func adviseEntry(err error) string {
	if isNetlink(err) {
		return "allow AF_NETLINK sockets (systemd: RestrictAddressFamilies; Kubernetes, docker and podman: the seccomp profile)"
	}
	return "grant CAP_SYS_ADMIN, and allow setns where a seccomp filter or a security module (SELinux, AppArmor) refuses it"
}

func advisePeers(err error) string {
	if errors.Is(err, unix.ENOSYS) {
		return "use Linux 5.6 or later, and a seccomp profile that allows pidfd_open and pidfd_getfd"
	}
	return "grant CAP_SYS_PTRACE, and allow pidfd_open and pidfd_getfd where a seccomp filter, a security module (SELinux, AppArmor) or kernel.yama.ptrace_scope=3 refuses them"
}

// reportRefusals logs each refusal once, and once that it is over.
func (l *loop) reportRefusals() {
	held := make(map[string]bool)
	for _, v := range l.refusals() {
		key := string(v.Kind)
		if held[key] = true; l.reach.reported[key] {
			continue
		}
		text, kind := describeRefusal(v)
		if v.Fatal {
			l.warnings.fail(kind, text, "error", v.Problem, "do", v.Do)
			continue
		}
		l.warnings.warn(kind, text, "error", v.Problem, "refused", v.Count, "of", v.Of, "do", v.Do)
	}
	for key := range l.reach.reported {
		if !held[key] {
			l.log.Info("refused no longer", "what", key)
		}
	}
	l.reach.reported = held
}

// describeRefusal returns what a refusal means, and the kind of its warning.
func describeRefusal(v api.RefusalView) (text, kind string) {
	switch {
	case v.Kind == api.RefusedNetlink:
		return "no sock_diag socket can be opened: no socket can be looked at or destroyed, observing only", WarnNetns
	case v.Kind == api.RefusedNetns && v.Fatal:
		return "no network namespace can be entered: no socket can be looked at or destroyed, observing only", WarnNetns
	case v.Kind == api.RefusedNetns:
		return "some network namespaces cannot be entered: their sockets can be neither looked at nor destroyed", WarnNetns
	case v.Kind == api.RefusedOwners:
		return "the owners of some sockets cannot be found: the history does not name them, and rules with commands spare their sockets", WarnOwners
	}
	return "the peers of some sockets cannot be asked: grace alone decides about these", WarnAsking
}

// Health returns nil while the reaper is at work: it has read the records and can enter network namespaces.
func (r *Reaper) Health(ctx context.Context) error {
	var fatal error
	err := r.read(ctx, func(l *loop) {
		switch err := l.reach.enter; {
		case !l.ready:
			fatal = errNotCounted
		case err != nil:
			fatal = fmt.Errorf("nothing can be destroyed: %w: %s", err, adviseEntry(err))
		}
	})
	return errors.Join(err, fatal)
}
