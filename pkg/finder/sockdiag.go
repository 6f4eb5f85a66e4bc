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
type SockDiag struct {
	refreshes
	clock  monotime.Clock
	sweeps sweeper
	why    string // State.Why
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
}

// NewSockDiag returns the finder.
func NewSockDiag(c Config) *SockDiag { return newSockDiag(c, "") }

func newSockDiag(c Config, why string) *SockDiag {
	pacer := pacing.New(c.CPUBudget, c.Clock.Now())
	f := &SockDiag{refreshes: newRefreshes(), clock: c.Clock, sweeps: newSweeper(Opener{c.Root}, pacer, c.Clock, dueNow), why: why}
	f.sweeps.looksUpRoles = func(netns.Identity) bool { return true }
	return f
}

// Name returns "sockdiag".
func (f *SockDiag) Name() string { return NameSockDiag }

// Find implements Finder. It returns no error.
func (f *SockDiag) Find(ctx context.Context, targets <-chan []Netns, sink Sink) error {
	f.sweeps.replace(nil, f.clock.Now())
	f.sweeps.cancelRequests()
	f.waiting = nil
	sink.State(State{Name: f.Name(), Why: f.why})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case set := <-targets:
			f.sweeps.replace(set, f.clock.Now())
		case done := <-f.requests:
			select {
			case set := <-targets: // received first: a read of the old set would not show the new network namespaces
				f.sweeps.replace(set, f.clock.Now())
			default:
			}
			f.add(done)
			f.sweeps.requestAll(f.clock.Now())
		case <-timer.C:
			if sweep, complete := f.sweeps.sweep(f.clock.Now(), sink); complete {
				sink.Swept(sweep)
			}
		}
		if f.sweeps.isRefreshed() {
			f.finish()
		}
		timer.Reset(f.sweeps.idle(f.clock.Now()))
	}
}
