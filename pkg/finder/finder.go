// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Finder finds the half-closed sockets of a set of network namespaces and reports them to a Sink.
type Finder interface {
	// Name returns the finder's name in logs, metrics and --finder.
	Name() string
	// Find works until ctx is done, then returns nil. Each value received from targets replaces the set of
	// network namespaces to look in; the set is empty until the first, also where Find is called again after it
	// has returned. Find keeps the slice and does not change it. An error means that the finder cannot go on.
	Find(ctx context.Context, targets <-chan []Netns, sink Sink) error
	// Refresh has Find read its network namespaces now, for a person or a program that asks for their sockets, and returns
	// nil once Find has reported each socket that it saw. The read uses CPU time that other work leaves, so it may take long
	// or, on a node whose budget is spent, never end: then Refresh returns the error of ctx. It may be called concurrently,
	// and while Find does not run. Find may miss sockets of which the kernel has sent it no event: only its next sweep or
	// walk finds these.
	Refresh(ctx context.Context) error
}

// Sink receives the reports of a finder. Find calls the methods from one goroutine at a time and waits for each
// to return, so a slow sink slows the finder down instead of queueing reports.
//
// A report may concern a network namespace that has left the set: a finder reads the next set only between two
// pieces of work. A sink ignores such a report.
type Sink interface {
	// Seen reports half-closed sockets: at least one, of one network namespace or of several. The same socket
	// may be reported any number of times. The finder reuses batch after Seen returns.
	Seen(batch []Seen)
	// Swept reports that the finder has read whole network namespaces, after it has reported through Seen every
	// half-closed socket that it saw there. A socket of these that no Seen has reported since sweep.Began may
	// be gone, or the finder has missed it. The finder reuses sweep.Netns after Swept returns.
	Swept(sweep Sweep)
	// Failed reports that the finder could not read a network namespace to its end. Sockets that it saw before
	// the failure it has reported through Seen. If netns.IsGone(err), the network namespace is at none of its
	// paths any more; after any other error the finder retries in the next interval.
	Failed(id netns.Identity, err error)
	// Cost reports the CPU time that the finder has spent, and the events that it has missed, since the previous Cost. The figures are the node's,
	// not one network namespace's. The Cost of a read or a sweep comes before its Swept or Failed.
	Cost(cost Cost)
	// State reports how the finder works: once before any other report, then whenever that changes.
	State(state State)
}

// Seen is one half-closed socket as a finder saw it.
type Seen struct {
	Netns  netns.Identity
	Socket inetdiag.Socket
	// At is when the kernel read the socket, or shortly after. Asked is a time before that; zero where At is
	// exact.
	At, Asked monotime.Time
	// Entered is when the socket became half-closed, if the finder saw that and Socket has the counters of that
	// moment; else zero.
	Entered monotime.Time
	// Role is which side of its connection the socket is, if the finder knows. It may be known in one report of a
	// connection and not in the next: a listener may have closed since, and only bpf proves a client. So a sink keeps
	// the first role that is known.
	Role policy.Role
}

// Sweep is one complete read of one or more network namespaces.
type Sweep struct {
	Finder   string           // NameSockDiag for a dump of one network namespace, also one that bpf asks for; NameBPF for a walk over the node's processes
	Netns    []netns.Identity // at least one
	Began    monotime.Time
	Duration time.Duration // wall time, for all of Netns together
	Late     time.Duration // how long after it was due the sweep began
}

// Cost has the CPU time of a piece of work, and the events that it has missed.
type Cost struct {
	CPU time.Duration
	// Missed counts sockets that the kernel should have reported as they became half-closed, and that a later
	// read found instead.
	Missed uint64
}

// State is how a finder works.
type State struct {
	Name string // of the finder that does the work now: NameSockDiag while bpf has fallen back
	// Why is the reason why the cheapest finder does not do all of the work; "" if it does, or if the operator
	// has selected another one.
	Why string
	// Known is the number of sockets in the finder's own set, and Room the capacity of that set; both are 0 for a
	// finder without one.
	Known, Room int
	// Crowded are the network namespaces with very many half-closed sockets, which sock_diag sweeps beside the others, in the
	// order of their identities.
	Crowded []netns.Identity
}

// equal reports whether two states are the same.
func (s *State) equal(other *State) bool {
	return s.Name == other.Name && s.Why == other.Why && s.Known == other.Known && s.Room == other.Room && slices.Equal(s.Crowded, other.Crowded)
}
