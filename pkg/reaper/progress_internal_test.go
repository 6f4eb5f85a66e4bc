// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// overdueUnread is overdueLook at a socket with unread bytes.
func overdueUnread(cookie uint64) finder.Seen {
	look := overdueLook(cookie)
	look.Socket.RQueue = 5
	return look
}

// TestSocketsWithUnreadBytesAreLookedUpWithinABudgetThatDelaysNoDestroy has 600 sockets past their grace with unread bytes, as
// a pod can create them, and one in another namespace that is due.
func TestSocketsWithUnreadBytesAreLookedUpWithinABudgetThatDelaysNoDestroy(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	l.progress = &progressBudget{pacing.New(0.005, now())}
	other := newRegistered(2)
	l.registry.namespaces[other.Identity] = other
	const sockets = 600
	k := &kernel{sockets: make(map[uint64]inetdiag.Socket)}
	for i := range uint64(sockets) {
		look := overdueUnread(i + 1)
		k.sockets[i+1] = look.Socket
		see(l, ns.Identity, look)
	}
	noneNext(t, l) // the next look at them comes after a quarter of their idle time
	at, wall := now().Add(testGrace), time.Now()
	j := l.nextJob(at, wall)
	if j == nil || !j.progress || len(j.list) != maxJobSockets || l.tracker.progressQ.Len() != sockets-maxJobSockets {
		t.Fatalf("the first job is %+v, and %d wait", j, l.tracker.progressQ.Len())
	}
	k.examine(j)
	l.examined(j, at)
	l.progress.spend(&job{progress: true, cpu: time.Second}, at)
	if j := l.nextJob(at, wall); j != nil {
		t.Errorf("with the budget used up there is another job, of %d sockets", len(j.list))
	}
	if wait := l.untilWork(at, wall); wait < time.Second {
		t.Errorf("with the budget used up the loop wakes up after %v", wait)
	}

	see(l, other.Identity, overdueLook(7000))
	if j = l.nextJob(at, wall); j == nil || j.ns != other || j.progress {
		t.Fatalf("beside them, the next job is %+v", j)
	}
	k.examine(j)
	l.examined(j, at)

	waiting := l.tracker.progressQ.Len()
	at = at.Add(time.Duration(policy.Default().PendingGrace))
	if j = l.nextJob(at, wall); j == nil || j.ns != ns || j.progress {
		t.Fatalf("at the end of pendingGrace the next job is %+v, while %d wait", j, waiting)
	}
}

// TestLooksAtASocketWithUnreadBytesGetFartherApart follows one for an hour.
func TestLooksAtASocketWithUnreadBytesGetFartherApart(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	start, looks := now(), 0
	look := overdueUnread(7)
	see(l, ns.Identity, look)
	c := ns.candidates[7]
	apart := c.step.dueAt.Sub(start)
	for at := c.step.dueAt; at.Before(start.Add(time.Hour)); at = c.step.dueAt {
		j := l.nextJob(at, time.Now())
		if j == nil || len(j.list) != 1 || !j.progress {
			t.Fatalf("after %v the next job is %+v", at.Sub(start), j)
		}
		looks++
		l.tracker.handle(c, eventExamined, at)
		look.At, look.Socket.Info.LastAckRecv = at, 2*testGrace+at.Sub(start)
		l.tracker.seen(ns, &look, at)
		next := c.step.dueAt.Sub(at)
		if next < apart {
			t.Fatalf("look %d comes after %v, the one before came after %v", looks, next, apart)
		}
		apart = next
	}
	if looks > 40 {
		t.Errorf("%d looks in an hour", looks)
	}
}
