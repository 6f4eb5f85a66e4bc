// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/test/torture/model"
)

// injections let system calls of the reaper fail.
func injections() []Maker {
	return []Maker{
		maker("netlink-fails", 4, 8*time.Second, func(r *rand.Rand) run {
			lasts := between(r, 2*time.Second, 5*time.Second)
			var faults []inject.Fault
			for range 2 + r.IntN(3) {
				faults = append(faults, netlinkFault(r))
			}
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				return n.inject(ctx, lasts, []uintptr{unix.SYS_WRITE, unix.SYS_RECVMSG, unix.SYS_RECVMMSG}, faults)
			}
		}),
		// Between the look and the destroy another socket takes over the addresses and ports.
		maker("destroy-held-up", 2, 6*time.Second, func(r *rand.Rand) run {
			name, times := fmt.Sprintf("site-%x", r.Uint32()), 1+r.IntN(3)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) { return n.holdUpDestroy(ctx, name, times) }
		}),
		maker("asking-fails", 3, 8*time.Second, func(r *rand.Rand) run {
			lasts := between(r, 2*time.Second, 5*time.Second)
			calls := []uintptr{unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_SETSOCKOPT, unix.SYS_SETNS}
			errnos := []unix.Errno{unix.EPERM, unix.EMFILE, unix.ENOMEM, unix.EINTR}
			var faults []inject.Fault
			for range 1 + r.IntN(2) {
				faults = append(faults, inject.Fault{
					Calls: []uintptr{calls[r.IntN(len(calls))]}, Skip: r.IntN(10), Times: 1 + r.IntN(20),
					Effect: inject.Fail(errnos[r.IntN(len(errnos))]),
				})
			}
			return func(ctx context.Context, n *Node) ([]model.Effect, error) { return n.inject(ctx, lasts, calls, faults) }
		}),
	}
}

// netlinkFault returns a fault of the calls by which the reaper talks to sock_diag.
func netlinkFault(r *rand.Rand) inject.Fault {
	// The reaper uses recvmsg(2) and recvmmsg(2) for sock_diag alone, and write(2) for files and HTTP too.
	isSocket := func(c *inject.Call) bool { return strings.HasPrefix(c.FD(0), "socket:") }
	skip, times := r.IntN(40), 1+r.IntN(20)
	fail := func(calls []uintptr, errnos ...unix.Errno) inject.Fault {
		return inject.Fault{Calls: calls, Where: isSocket, Skip: skip, Times: times, Effect: inject.Fail(errnos[r.IntN(len(errnos))])}
	}
	receives := []uintptr{unix.SYS_RECVMSG, unix.SYS_RECVMMSG}
	switch r.IntN(4) {
	case 0:
		return fail([]uintptr{unix.SYS_WRITE}, unix.EINTR, unix.ENOBUFS, unix.ECONNREFUSED, unix.EPERM)
	case 1:
		return fail(receives, unix.EINTR, unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM)
	case 2:
		return inject.Fault{Calls: []uintptr{unix.SYS_RECVMSG}, Where: isSocket, Skip: skip, Times: times, Effect: inject.Short(1 + r.IntN(3000))}
	}
	delay := between(r, time.Millisecond, 200*time.Millisecond)
	return inject.Fault{Calls: append(receives, unix.SYS_WRITE), Where: isSocket, Skip: skip, Times: times, Effect: inject.Late(delay)}
}

// inject runs a reaper with faults for a time.
func (n *Node) inject(ctx context.Context, lasts time.Duration, calls []uintptr, faults []inject.Fault) ([]model.Effect, error) {
	args, since := n.Reaper.Args(), model.Now()
	var s *inject.Supervisor
	if _, err := n.replaceReaperBy(ctx, 0, func() (err error) {
		s, err = n.Reaper.StartInjected(calls)
		return err
	}); err != nil {
		return nil, err
	}
	var injected []*inject.Injected
	for _, f := range faults {
		injected = append(injected, s.Inject(f))
	}
	err := sleep(ctx, lasts)
	for i, f := range injected {
		f.Lift()
		n.Log("fault %d was injected into %d calls", i, f.Hits())
	}
	if err != nil {
		return nil, err
	}
	_, err = n.replaceReaper(ctx, 0, args...)
	// The finder may have fallen back, and a restoration may have been refused.
	return possibly(since, model.Down, model.RoleUnknown, model.OptionsChanged), errors.Join(err, s.Err())
}
