// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// spill is whether the programs watch a network namespace: not while it has more sockets than fit into their set.
type spill struct {
	out      bool          // the programs do not watch it
	retry    monotime.Time // not watched before
	pause    time.Duration // the last time between leaving and retry
	returned monotime.Time // when it was last watched again; zero: never
}

// spillOver stops watching the network namespaces with the most sockets, if sockets did not fit into the set: at least one,
// and as many as it takes for the others to fit into three quarters of the set.
func (f *BPF) spillOver(now monotime.Time) error {
	list, err := f.loader.Usage()
	if err != nil {
		return err
	}
	var total, refused uint64
	for _, u := range list {
		total, refused = total+u.Sockets+u.Refused, refused+u.Refused
	}
	if refused == 0 {
		return nil // the network namespaces whose sockets did not fit are not watched any more
	}
	slices.SortFunc(list, func(a, b bpf.Usage) int { return cmp.Compare(b.Sockets+b.Refused, a.Sockets+a.Refused) })
	for i, u := range list {
		if i > 0 && total <= uint64(f.capacity)*3/4 {
			break
		}
		total -= u.Sockets + u.Refused
		if s := f.states[u.Netns]; s != nil {
			s.spill.leave(now, f.minPause)
		}
	}
	f.nextWalk = min(f.nextWalk, now) // for the sockets of others that did not fit
	f.watch(now)
	f.assign()
	return nil
}

// leave records that the network namespace is not watched any more. It is watched again after a pause that doubles each time,
// and is the shortest again once it was watched for the longest.
func (s *spill) leave(now monotime.Time, shortest time.Duration) {
	pause := shortest
	if !s.returned.IsZero() && now.Sub(s.returned) < maxRetryPause {
		pause = min(2*s.pause, maxRetryPause)
	}
	*s = spill{out: true, retry: now.Add(pause), pause: pause, returned: s.returned}
}

// sweepCrowd handles the end of a sweep of a network namespace with very many sockets, and starts the next.
func (f *BPF) sweepCrowd(ctx context.Context, now monotime.Time) {
	if sweep, sockets, complete := f.crowd.finishCurrent(f.sink); complete {
		f.reportSweep(sweep)
		if s := f.states[sweep.Netns[0].Cookie]; s != nil && s.spill.out {
			f.watchAgain(s, sockets, now)
		}
		f.assign()
	}
	f.crowd.startNext(ctx, now, f.sink)
}

// watchAgain watches a network namespace again, if its sockets fit into half of the set's room. The walk that is due then adds
// them.
func (f *BPF) watchAgain(s *netnsState, sockets int, now monotime.Time) {
	if f.fallback != nil || now.Before(s.spill.retry) || sockets > (f.capacity-f.known)/2 {
		return
	}
	s.spill.out, s.spill.returned = false, now
	s.readUntil, s.firstWalk = 0, 0
	f.nextWalk = now
	f.watchTargets(now)
}

// spillReason returns why sock_diag sweeps some network namespaces, "" if it sweeps none for that reason.
func (f *BPF) spillReason() string {
	out := 0
	for _, s := range f.states {
		if s.spill.out {
			out++
		}
	}
	if out == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d network namespaces have more half-closed sockets than fit beside the others into the kernel's set, which has room for %d (--bpf-sockets): sock_diag sweeps them",
		out, len(f.states), f.capacity)
}

// joinReasons joins two reasons, of which each may be "".
func joinReasons(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
