// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import "time"

// lookAge bounds how old a look may be when the destroy that it led to is sent: in between the socket may be used, and the
// kernel does not compare. Both take microseconds, unless the thread waits for the processor between them, as it does
// under a CPU quota. A bound that is never kept would destroy nothing, so it grows on a machine that is too slow.
type lookAge struct {
	vain int // looks in a row that were too old
}

const (
	minLookAge = time.Millisecond
	maxLookAge = 100 * time.Millisecond
	// vainBatches is after how many looks in vain sockets are looked at one at a time.
	vainBatches = 3
	// vainSingles is after how many the bound doubles with each.
	vainSingles = 10
)

// batch returns how many sockets are looked at together.
func (a *lookAge) batch() int {
	if a.vain < vainBatches {
		return handful
	}
	return 1
}

// bound returns the age that is allowed.
func (a *lookAge) bound() time.Duration {
	bound := minLookAge
	for range a.vain - vainSingles + 1 {
		if bound *= 2; bound >= maxLookAge {
			return maxLookAge
		}
	}
	return bound
}

// allows reports whether a look of that age is young enough.
func (a *lookAge) allows(age time.Duration) bool { return age <= a.bound() }

// note records how the destroys after a look went.
func (a *lookAge) note(tooOld bool) {
	if !tooOld {
		a.vain = 0
		return
	}
	a.vain++
}
