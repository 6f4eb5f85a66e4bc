// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math/rand/v2"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// kind is a kind of connection.
type kind struct {
	name   string
	weight int
	// script adds the steps of a connection in a namespace with the policy. It returns for how long the connection is
	// observed after them.
	script func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration
}

// observedAfter is how long a leak is observed past its time. It is closed as soon as it has ended.
const observedAfter = 12 * time.Second

// kinds lists all kinds of connections.
func kinds() []kind {
	return []kind{
		{"close-wait-leak", 12, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 500), AwayShuts, 0)
			return longest(p) + observedAfter
		}},
		{"fin-wait2-leak", 10, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 500), HomeShuts, 0)
			return longest(p) + observedAfter
		}},
		{"farewell-unread", 8, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 500), AwayWrites, 24)
			c.then(between(r, 0, 50), AwayShuts, 0)
			if r.IntN(2) == 0 { // read after all, late
				c.then(part(r, p.CloseWaitGrace, 20, 80), HomeReads, 24)
			}
			return longest(p) + observedAfter
		}},
		{"unread-in-fin-wait2", 4, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 500), HomeShuts, 0)
			c.then(part(r, p.FinWait2Grace, 10, 70), AwayWrites, 300)
			return longest(p) + observedAfter
		}},
		{"idle-established", 4, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			if r.IntN(2) == 0 {
				c.then(between(r, 0, 500), AwayWrites, 100)
			}
			return longest(p) + 3*time.Second
		}},
		{"streaming-close-wait", 8, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 500), AwayShuts, 0)
			for range 2 + r.IntN(4) {
				c.then(part(r, p.CloseWaitGrace, 30, 85), HomeSends, 1+r.IntN(2000))
			}
			return longest(p) + observedAfter
		}},
		{"streaming-fin-wait2", 8, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 500), HomeShuts, 0)
			for range 2 + r.IntN(4) {
				c.then(part(r, p.FinWait2Grace, 30, 85), AwaySends, 1+r.IntN(2000))
			}
			return longest(p) + observedAfter
		}},
		{"slow-reading", 6, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			n := 2 + r.IntN(4)
			c.then(between(r, 0, 500), AwayWrites, 100*n)
			c.then(between(r, 0, 50), AwayShuts, 0)
			for range n - r.IntN(2) {
				c.then(part(r, p.CloseWaitGrace, 30, 85), HomeReads, 100)
			}
			return longest(p) + observedAfter
		}},
		{"computing", 8, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 200), AwaySends, 200)
			c.then(between(r, 0, 50), AwayShuts, 0)
			c.then(part(r, p.CloseWaitGrace, 50, 92), HomeSends, 3000)
			c.then(between(r, 0, 200), HomeCloses, 0)
			return 0
		}},
		{"computing-too-long", 3, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 200), AwaySends, 200)
			c.then(between(r, 0, 50), AwayShuts, 0)
			return longest(p) + observedAfter
		}},
		{"peer-closes", 8, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 500), AwayShuts, 0)
			c.then(between(r, 0, 3000), AwayCloses, 0)
			return longest(p) + observedAfter
		}},
		{"peer-forgets", 8, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 500), either(r, AwayShuts, HomeShuts), 0)
			c.then(between(r, 0, 4000), AwayForgets, 0)
			return longest(p) + observedAfter
		}},
		{"peer-vanishes", 6, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 500), either(r, AwayShuts, HomeShuts), 0)
			c.then(between(r, 0, 2000), AwaySilent, 0)
			return longest(p) + observedAfter
		}},
		{"peer-answers-late", 6, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 500), AwayShuts, 0)
			c.then(between(r, 0, 1000), AwaySilent, 0)
			c.then(between(r, 300, 3000), AwayBack, 0)
			return longest(p) + observedAfter
		}},
		{"unacknowledged", 4, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.then(between(r, 0, 500), AwayShuts, 0)
			c.then(between(r, 0, 500), AwaySilent, 0)
			c.then(between(r, 0, 1000), HomeWrites, 500)
			return longest(p) + observedAfter
		}},
		{"not-accepted", 4, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.Unqueued, c.Server, c.Loopback = true, true, false
			c.then(between(r, 0, 500), AwayShuts, 0)
			if r.IntN(3) > 0 {
				c.then(part(r, p.CloseWaitGrace, 50, 150), HomeAccepts, 0)
			}
			return longest(p) + observedAfter
		}},
		{"reconnects", 4, func(r *rand.Rand, p *model.Policy, c *Connection) time.Duration {
			c.Server, c.Loopback = false, false
			c.then(between(r, 0, 500), AwayShuts, 0)
			c.then(part(r, p.CloseWaitGrace, 30, 85), HomeReconnects, 0)
			c.then(part(r, p.CloseWaitGrace, 5, 50), AwayShuts, 0)
			return longest(p) + observedAfter
		}},
	}
}

// then adds a step.
func (c *Connection) then(after time.Duration, do Do, n int) {
	c.Steps = append(c.Steps, Step{After: after, Do: do, N: n})
}

// between returns a time between two numbers of milliseconds.
func between(r *rand.Rand, least, most int) time.Duration {
	return time.Duration(least+r.IntN(most-least+1)) * time.Millisecond
}

// part returns a time between two percentages of a patience: 4 s in place of one that never ends.
func part(r *rand.Rand, patience time.Duration, least, most int) time.Duration {
	if patience == model.Never {
		patience = 4 * time.Second
	}
	return (patience * time.Duration(least+r.IntN(most-least+1)) / 100).Truncate(time.Millisecond)
}

func either[T any](r *rand.Rand, a, b T) T {
	if r.IntN(2) == 0 {
		return a
	}
	return b
}

// longest returns the longest of the graces that end.
func longest(p *model.Policy) time.Duration {
	var most time.Duration
	for _, d := range []time.Duration{p.CloseWaitGrace, p.FinWait2Grace, p.PendingGrace} {
		if d != model.Never {
			most = max(most, d)
		}
	}
	return most
}

// KindNames lists the kinds of connections, each after "kind ".
func KindNames() (names []string) {
	for _, k := range kinds() {
		names = append(names, "kind "+k.name)
	}
	return names
}
