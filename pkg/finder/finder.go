// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"context"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// Finder lists the half-closed sockets of the registered namespaces. What it finds need not be complete
// nor current: the loop looks at every socket again before it acts, and confirms what a finder no longer
// shows before it forgets it.
type Finder interface {
	// Name is what --finder calls it.
	Name() string
	// Find works until ctx ends. Each value received from targets replaces the set of namespaces to look
	// in. found is called with what was seen, from one goroutine at a time; the Findings are the finder's
	// again when found returns. The error says why the finder cannot go on.
	Find(ctx context.Context, targets <-chan []Target, found func(...Finding)) error
}

// FinderState is what a finder says of itself.
type FinderState struct {
	Name string // of the finder that does the work now: sockdiag or bpf
	// Why says why the work is not all done by the finder that costs least; "" where there is nothing to say.
	Why string
	// Known is how many sockets the finder's own set has, Room how many it can have; 0 where it keeps none.
	Known, Room int
}

// Target is a namespace to look in.
type Target struct {
	Identity netns.Identity
	Paths    []string      // where the namespace may be found, first the likeliest
	Interval time.Duration // how often it should be looked at: a quarter of its shortest grace
	Grace    time.Duration // its shortest
}

// Finding is what a finder saw of one namespace.
type Finding struct {
	Namespace netns.Identity
	Seen      []Seen
	// Swept is when a look at the whole namespace began, set in the last Finding of it: a candidate that
	// has not been seen since may be gone. Zero in any other.
	Swept monotime.Time
	// Err is why the namespace could not be looked into. It matches fs.ErrNotExist or netns.ErrMismatch
	// where there is nothing to look into any more.
	Err error
	// CPU is what the look cost, Took how long it took; Late is how long after its time it began. A look at many
	// namespaces at once is told of once, beside one of them.
	CPU, Took, Late time.Duration
	// Missed counts sockets that the finder should have been told of, and found by looking.
	Missed uint64
	// State is how the finder works, where that has changed.
	State *FinderState
}

// Seen is one half-closed socket as a finder saw it.
type Seen struct {
	Socket inetdiag.Socket
	// At is when the kernel looked, or shortly after; Asked is before, zero where At is near enough.
	At, Asked monotime.Time
	// Entered is when it became half-closed, where the finder saw that and Socket holds the counters of
	// that moment; else zero.
	Entered monotime.Time
}
