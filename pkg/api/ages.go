// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// AgeBuckets is the number of buckets: one below each bound, and one above all.
const AgeBuckets = 5

// AgeBounds returns the upper bounds of the buckets of Ages.
func AgeBounds() [AgeBuckets - 1]time.Duration {
	return [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}
}

// Ages counts the half-closed sockets of each state by age.
type Ages struct {
	CloseWait AgeCounts `json:"CLOSE_WAIT"`
	FinWait2  AgeCounts `json:"FIN_WAIT2"`
}

// AgeCounts counts sockets in buckets of age, the youngest first. A bucket has the sockets younger than its bound in
// Status.AgeBounds and at least as old as the bound before. The last bucket has no bound.
type AgeCounts struct {
	Sockets [AgeBuckets]int `json:"sockets"`
	// Overdue counts the sockets past their deadline, which are spared, queued or observed.
	Overdue [AgeBuckets]int `json:"overdue"`
}

// Of returns the counts of CLOSE_WAIT or FIN_WAIT2.
func (a *Ages) Of(s inetdiag.State) *AgeCounts {
	if s == inetdiag.FinWait2 {
		return &a.FinWait2
	}
	return &a.CloseWait
}

// Add counts one socket.
func (c *AgeCounts) Add(age time.Duration, overdue bool, bounds *[AgeBuckets - 1]time.Duration) {
	i := 0
	for i < len(bounds) && age >= bounds[i] {
		i++
	}
	c.Sockets[i]++
	if overdue {
		c.Overdue[i]++
	}
}

// Merge adds the counts of another network namespace.
func (a *Ages) Merge(other *Ages) {
	a.CloseWait.merge(&other.CloseWait)
	a.FinWait2.merge(&other.FinWait2)
}

func (c *AgeCounts) merge(other *AgeCounts) {
	for i := range AgeBuckets {
		c.Sockets[i] += other.Sockets[i]
		c.Overdue[i] += other.Overdue[i]
	}
}

// Total returns the number of sockets of any age.
func (c *AgeCounts) Total() (n int) {
	for _, sockets := range c.Sockets {
		n += sockets
	}
	return n
}

// Totals returns the number of sockets by state.
func (a *Ages) Totals() map[string]int {
	return map[string]int{inetdiag.CloseWait.String(): a.CloseWait.Total(), inetdiag.FinWait2.String(): a.FinWait2.Total()}
}
