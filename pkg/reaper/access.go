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

// Trials try the operations that the reaper needs, without side effects. Capabilities alone prove little: a seccomp filter
// or a security module may refuse an operation that they allow.
type Trials struct {
	Enter     func() error                                     // enters a network namespace: finder.TryOpen
	Processes func(ctx context.Context) (owners.Access, error) // finds owners and duplicates descriptors: owners.Proc.TryAccess
}

// access tracks which operations are refused, as trials show. The loop owns it; the trials run in a goroutine of their own.
type access struct {
	trials Trials
	open   opener
	orders chan *trial // to that goroutine
	done   chan *trial // from it

	isTrying      bool
	started       bool          // at least one trial has been started
	nextTrial     monotime.Time // no trial before
	nextProcesses monotime.Time // no trial of the processes before
	interval      time.Duration // between two trials of the processes

	enter     error // why no network namespace can be entered; nil if one can
	processes owners.Access
	reported  map[string]bool // kinds of refusals that were logged
}

// trial is one round of trials.
type trial struct {
	withProcesses bool
	netns         []finder.Netns // to enter

	enter     error
	processes owners.Access
	err       error // of the trial of the processes
	entered   []error
}

const (
	// trialInterval is the time between two trials while an operation is refused.
	trialInterval = 10 * time.Second
	// maxProcessTrialInterval bounds the time between two trials of the processes. There may be thousands, and some may
	// refuse permanently.
	maxProcessTrialInterval = 5 * time.Minute
	// maxTrialNetns is how many network namespaces one trial enters.
	maxTrialNetns = 256
)

func newAccess(trials Trials, open opener) access {
	return access{
		trials: trials, open: open, interval: trialInterval, reported: make(map[string]bool),
		orders: make(chan *trial, 1), done: make(chan *trial, 1),
	}
}

// tryEntry tries to enter a network namespace before the reaper starts its work. Otherwise each namespace would report the
// same failure.
func (l *loop) tryEntry() {
	if l.access.trials.Enter != nil {
		l.setEntry(l.access.trials.Enter())
		l.reportRefusals()
	}
}

// setEntry stores the result of entering a network namespace.
func (l *loop) setEntry(err error) {
	problem := ""
	l.access.enter = nil
	if finder.IsRefused(err) { // other errors, such as too many open files, are temporary
		l.access.enter, problem = err, err.Error()
	}
	if l.caps.setNetnsProblem(problem) {
		l.applyMode(l.clock.Now())
	}
}

// work runs trials until ctx is done.
func (r *access) work(ctx context.Context) {
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

func (r *access) try(ctx context.Context, t *trial) {
	t.enter = r.trials.Enter()
	if t.withProcesses {
		t.processes, t.err = r.trials.Processes(ctx)
	}
	for _, n := range t.netns {
		c, err := r.open(n)
		if err == nil {
			err = c.Close()
		}
		t.entered = append(t.entered, err)
	}
}

// startTrial starts a trial if one is due: at the start, for a new network namespace, and periodically while an operation
// is refused.
func (l *loop) startTrial(now monotime.Time) {
	r := &l.access
	if r.trials.Enter == nil || r.isTrying {
		return
	}
	isRetryDue := !now.Before(r.nextTrial)
	t := &trial{}
	for _, ns := range l.registry.namespaces {
		if ns.isSwept() && (!ns.tried || ns.unreachable != "" && isRetryDue) && len(t.netns) < maxTrialNetns {
			t.netns = append(t.netns, ns.Netns)
		}
	}
	processesRefused := r.processes.List.Count > 0 || r.processes.Receive.Count > 0
	if r.started && len(t.netns) == 0 && (!isRetryDue || r.enter == nil && !processesRefused) {
		return
	}
	t.withProcesses = !now.Before(r.nextProcesses) && (!r.started || processesRefused)
	r.isTrying, r.started, r.nextTrial = true, true, now.Add(trialInterval)
	if t.withProcesses {
		r.nextProcesses, r.interval = now.Add(r.interval), min(2*r.interval, maxProcessTrialInterval)
	}
	r.orders <- t // never blocks: capacity 1, at most one trial in flight
}

// finishTrial stores the results of a trial.
func (l *loop) finishTrial(t *trial) {
	r := &l.access
	r.isTrying = false
	l.setEntry(t.enter)
	switch {
	case t.withProcesses && t.err != nil:
		l.log.Debug("cannot try operations on processes", "error", t.err)
	case t.withProcesses:
		r.processes = t.processes
	}
	for i, n := range t.netns {
		ns := l.registry.namespaces[n.Identity]
		switch err := t.entered[i]; {
		case ns == nil:
		case err == nil || finder.IsRefused(err):
			ns.tried = true
			l.recordEntry(ns, err)
		default: // mostly a deleted one; other errors the finder reports
			ns.tried = true
		}
	}
	l.reportRefusals()
}

// recordEntry records whether a network namespace could be entered.
func (l *loop) recordEntry(ns *registered, err error) {
	switch {
	case err == nil:
		ns.unreachable = ""
	case finder.IsRefused(err):
		ns.unreachable = err.Error()
	}
}

// unreachable returns the number of network namespaces that should be swept and cannot be entered.
func (l *loop) unreachable() (n int) {
	for _, ns := range l.registry.namespaces {
		if ns.isSwept() && (ns.unreachable != "" || l.access.enter != nil) {
			n++
		}
	}
	return n
}

// refusals lists the refused operations that matter, the most serious first.
func (l *loop) refusals() []api.RefusalView {
	var list []api.RefusalView
	r := &l.access
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
	if d := r.processes.List; d.Count > 0 && l.finder.Name == finder.NameSockDiag { // the bpf finder does not read /proc/PID/fd
		list = append(list, api.RefusalView{
			Kind: api.RefusedOwners, Problem: fmt.Sprintf("%v: %v", d.First, d.Err), Count: d.Count, Of: r.processes.Processes,
			Do: "grant CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, in the user namespaces of the containers too",
		})
	}
	if d := r.processes.Receive; d.Count > 0 && l.tracker.canAsk {
		list = append(list, api.RefusalView{
			Kind: api.RefusedPeers, Problem: fmt.Sprintf("%v: %v", d.First, d.Err), Count: d.Count, Of: r.processes.Processes, Do: advisePeers(d.Err),
		})
	}
	return list
}

// firstUnreachable returns why one of the network namespaces cannot be entered: always the same of several.
func (l *loop) firstUnreachable() string {
	var all []string
	for _, ns := range l.registry.namespaces {
		if ns.isSwept() && ns.unreachable != "" {
			all = append(all, ns.unreachable)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.Min(all)
}

func isNetlink(err error) bool {
	if errors.Is(err, inetdiag.ErrNoTCP) {
		return true
	}
	_, ok := errors.AsType[*inetdiag.OpenError](err)
	return ok
}

func adviseEntry(err error) string {
	if errors.Is(err, inetdiag.ErrNoTCP) {
		return "run modprobe -a inet_diag tcp_diag on the host, and list both in /etc/modules-load.d/halfclose.conf: the reaper goes on within 10s"
	}
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

// reportRefusals logs the start and the end of each kind of refusal.
func (l *loop) reportRefusals() {
	current := make(map[string]bool)
	var refusedOwners api.RefusalView
	for _, v := range l.refusals() {
		key := string(v.Kind)
		if v.Kind == api.RefusedOwners {
			refusedOwners = v
		}
		if current[key] = true; l.access.reported[key] {
			continue
		}
		text, kind := describeRefusal(v)
		switch {
		case v.Fatal:
			l.warnings.fail(kind, text, "error", v.Problem, "do", v.Do)
		case v.Kind == api.RefusedPeers && v.Count == refusedOwners.Count: // the same processes: one warning is enough
			l.warnings.count(kind)
		default:
			l.warnings.warn(kind, text, "error", v.Problem, "refused", v.Count, "of", v.Of, "do", v.Do)
		}
	}
	for key := range l.access.reported {
		if !current[key] {
			l.log.Info("no longer refused", "operation", key)
		}
	}
	l.access.reported = current
}

// describeRefusal returns the consequence of a refusal, and the kind of its warning.
func describeRefusal(v api.RefusalView) (text, kind string) {
	switch {
	case v.Kind == api.RefusedNetlink:
		return "cannot use sock_diag: no socket can be examined or destroyed, observing only", WarnNetns
	case v.Kind == api.RefusedNetns && v.Fatal:
		return "cannot enter network namespaces: no socket can be examined or destroyed, observing only", WarnNetns
	case v.Kind == api.RefusedNetns:
		return "cannot enter some network namespaces: their sockets can be neither examined nor destroyed", WarnNetns
	case v.Kind == api.RefusedOwners:
		return "cannot find the owners of some sockets: history entries will have none, rules with commands spare these sockets, and their peers are not asked", WarnOwners
	}
	return "cannot ask the peers of some sockets: only their grace counts", WarnAsking
}

// Health returns nil once the reaper has read the records, unless it cannot enter network namespaces.
func (r *Reaper) Health(ctx context.Context) error {
	var fatal error
	err := r.read(ctx, func(l *loop) {
		switch err := l.access.enter; {
		case !l.ready:
			fatal = errNotCounted
		case err != nil:
			fatal = fmt.Errorf("nothing can be destroyed: %w: %s", err, adviseEntry(err))
		}
	})
	return errors.Join(err, fatal)
}
