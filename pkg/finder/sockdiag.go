// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// SockDiag is the finder for any kernel: it dumps each network namespace's half-closed sockets by sock_diag,
// one network namespace at a time, as often as the graces ask for and the CPU budget allows.
//
// A dump walks the network namespace's whole hash table of connections. On most kernels all network namespaces
// share one table of a quarter of a million buckets, so each dump costs as much as the largest one. A network
// namespace with its own table (net.ipv4.tcp_child_ehash_entries, Linux 6.1) costs a hundredth.
//
// A network namespace with very many half-closed sockets is swept beside the others, in a part of the budget.
type SockDiag struct {
	refreshes
	clock   monotime.Clock
	budget  float64
	targets []Netns
	sweeps  sweeper
	crowd   crowd
	why     string // State.Why
	sink    Sink

	reported State // last
}

// Config is what every finder needs.
type Config struct {
	Root  *netns.Root // where paths resolve
	Clock monotime.Clock
	// CPUBudget is the share of one core that reads, walks and sweeps may cost together, such as 0.02. Audits have
	// a budget of their own.
	CPUBudget float64
	// MaxWalkInterval is the longest time between two walks of the bpf finder; 0 is a minute.
	MaxWalkInterval time.Duration
	// CrowdLimit is how many half-closed sockets a network namespace may have before it is swept beside the others and not
	// between them; 0 is 8192.
	CrowdLimit int
}

// NewSockDiag returns the finder.
func NewSockDiag(c Config) *SockDiag { return newSockDiag(c, "") }

func newSockDiag(c Config, why string) *SockDiag {
	opener, pacer := Opener{c.Root}, pacing.New(c.CPUBudget, c.Clock.Now())
	f := &SockDiag{
		refreshes: newRefreshes(), clock: c.Clock, budget: c.CPUBudget, why: why,
		sweeps: newSweeper(opener, pacer, c.Clock, dueNow), crowd: newCrowd(opener, c.Clock, c.CPUBudget, c.CrowdLimit),
	}
	always := func(netns.Identity) bool { return true }
	f.sweeps.looksUpRoles, f.crowd.looksUpRoles = always, always
	f.sweeps.maxSockets, f.sweeps.overfull = f.crowd.limit, func(id netns.Identity) {
		f.crowd.members[id] = true
		f.assign()
	}
	return f
}

// Name returns "sockdiag".
func (f *SockDiag) Name() string { return NameSockDiag }

// Find implements Finder. It returns no error.
func (f *SockDiag) Find(ctx context.Context, targets <-chan []Netns, sink Sink) error {
	f.sink, f.reported = sink, State{}
	f.replaceTargets(nil)
	f.sweeps.cancelRequests()
	f.crowd.cancelRequests()
	f.waiting = nil
	defer f.crowd.wait()
	f.reportState()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case set := <-targets:
			f.replaceTargets(set)
		case done := <-f.requests:
			select {
			case set := <-targets: // received first: a read of the old set would not show the new network namespaces
				f.replaceTargets(set)
			default:
			}
			f.add(done)
			f.sweeps.requestAll(f.clock.Now())
			f.crowd.requestAll(f.clock.Now())
		case report := <-f.crowd.reports:
			report()
		case <-timer.C:
			if sweep, complete := f.sweeps.sweep(f.clock.Now(), sink); complete {
				sink.Swept(sweep)
			}
		}
		f.sweepCrowd(ctx)
		if f.sweeps.isRefreshed() && f.crowd.isRefreshed() {
			f.finish()
		}
		f.reportState()
		now := f.clock.Now()
		timer.Reset(min(f.sweeps.idle(now), f.crowd.idleAlone(now)))
	}
}

// replaceTargets takes over another set of network namespaces.
func (f *SockDiag) replaceTargets(set []Netns) {
	f.targets = set
	f.crowd.retain(set)
	f.assign()
}

// assign has the crowd sweep its members, and the sweeper the others.
func (f *SockDiag) assign() {
	var alone, others []Netns
	for _, n := range f.targets {
		if f.crowd.members[n.Identity] {
			alone = append(alone, n)
		} else {
			others = append(others, n)
		}
	}
	f.crowd.assign(alone, others, &f.sweeps, f.budget, f.clock.Now())
}

// sweepCrowd handles the end of a sweep of the crowd, and starts the next.
func (f *SockDiag) sweepCrowd(ctx context.Context) {
	if sweep, _, complete := f.crowd.finishCurrent(f.sink); complete {
		f.sink.Swept(sweep)
		f.assign()
	}
	f.crowd.startNext(ctx, f.clock.Now(), f.sink)
}

// reportState reports how the finder works, if that has changed.
func (f *SockDiag) reportState() {
	if s := (State{Name: f.Name(), Why: f.why, Crowded: f.crowd.list()}); !s.equal(&f.reported) {
		f.reported = s
		f.sink.State(s)
	}
}
