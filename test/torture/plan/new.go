// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// Entry is a disturbance that the plan may choose.
type Entry struct {
	Name   string
	Weight int
	Lasts  time.Duration
}

// Options select what a plan has.
type Options struct {
	Seed         uint64
	Duration     time.Duration
	Finder       string // bpf, sockdiag or, by the seed, turns
	Concurrent   int    // namespaces at the same time
	Profile      Profile
	Disturbances []Entry
}

// New decides everything. The same options give the same plan.
func New(o Options) *Plan {
	r := rand.New(rand.NewPCG(o.Seed, 0x746f7274757265))
	p := &Plan{Seed: o.Seed, Duration: o.Duration, Profile: o.Profile.Name, Finder: o.Finder}
	if o.Finder == "turns" {
		p.Finder = either(r, "bpf", "sockdiag")
	}
	for slot := range o.Concurrent {
		at := between(r, 0, 3000)
		for {
			life := between(r, 12_000, 40_000)
			if left := o.Duration - at; left < 10*time.Second {
				break
			} else if life > left-8*time.Second {
				life = left
			}
			n := newNamespace(r, o.Profile, len(p.Namespaces)+1, at, at+life)
			p.Namespaces = append(p.Namespaces, n)
			at += life + between(r, 100, 1500)
		}
		_ = slot
	}
	p.Disturbances = disturbances(r, o)
	return p
}

// disturbances chooses disturbances one after the other, with time between two in which everything is on time.
func disturbances(r *rand.Rand, o Options) []Disturbance {
	var total int
	for _, e := range o.Disturbances {
		total += o.Profile.weight(e)
	}
	if total == 0 {
		return nil
	}
	var all []Disturbance
	at := between(r, 4000, 8000)
	for {
		n := r.IntN(total)
		var chosen Entry
		for _, e := range o.Disturbances {
			if n -= o.Profile.weight(e); n < 0 {
				chosen = e
				break
			}
		}
		if at+chosen.Lasts > o.Duration-5*time.Second {
			return all
		}
		all = append(all, Disturbance{At: at, Name: chosen.Name, Seed: r.Uint64()})
		at += chosen.Lasts + between(r, 2000, 12_000)
	}
}

// newNamespace decides a namespace.
func newNamespace(r *rand.Rand, profile Profile, index int, at, until time.Duration) Namespace {
	n := Namespace{Name: fmt.Sprintf("ns%d", index), Index: index, At: at, Until: until}
	for _, command := range []string{"alpha", "beta"} {
		n.Owners = append(n.Owners, Owner{Command: command})
	}
	flavour(r, profile, &n)
	policy := n.Attachments[0].Changes[0].Policy
	for i := range profile.connections(r) {
		c := newConnection(r, profile, policy, fmt.Sprintf("%s/%d", n.Name, i), at, until)
		if c == nil {
			continue
		}
		n.Connections = append(n.Connections, *c)
		if again := reuse(r, c, until); again != nil {
			n.Connections = append(n.Connections, *again)
		}
	}
	if len(policy.Rules) > 0 && policy.Rules[0].Above > 0 {
		n.Connections = append(n.Connections, counted(r, policy, &n)...)
	}
	if r.IntN(8) == 0 {
		freezeOwners(r, &n)
	}
	return n
}

// reuse decides on a later connection with the addresses and ports of an earlier one.
func reuse(r *rand.Rand, c *Connection, until time.Duration) *Connection {
	if r.IntN(8) > 0 || !c.Server || c.Unqueued {
		return nil
	}
	again := *c
	again.ID, again.Kind, again.Same = c.ID+"-again", "same-addresses", c.ID
	again.Steps = []Step{{After: between(r, 0, 500), Do: AwayShuts}}
	again.At = c.Until + between(r, 100, 1000)
	again.Until = until - 500*time.Millisecond
	if again.At+3*time.Second > again.Until {
		return nil
	}
	return &again
}

// counted decides the connections of a rule with a count: they are half-closed one after the other.
func counted(r *rand.Rand, p *model.Policy, n *Namespace) (all []Connection) {
	rule := p.Rules[0]
	at := n.At + between(r, 500, 2000)
	for i := range rule.Above + 2 + r.IntN(4) {
		c := Connection{
			ID: fmt.Sprintf("%s/counted-%d", n.Name, i), Kind: "counted", At: at, Family: Family(r.IntN(2)), Server: true, Port: CountedPort,
			Until: n.Until - 500*time.Millisecond,
		}
		c.then(0, AwayShuts, 0)
		all = append(all, c)
		at += between(r, 300, 900)
	}
	return all
}

// freezeOwners decides when owners are frozen or stopped.
func freezeOwners(r *rand.Rand, n *Namespace) {
	for i := range n.Owners {
		for at := n.At + between(r, 2000, 8000); at < n.Until-4*time.Second; at += between(r, 5000, 12_000) {
			f := Freeze{At: at, For: between(r, 200, 6000), Signal: r.IntN(2) == 0}
			if f.At+f.For > n.Until-2*time.Second {
				break
			}
			n.Owners[i].Freezes = append(n.Owners[i].Freezes, f)
			at += f.For
		}
	}
}

// newConnection decides a connection. It returns nil if the namespace does not exist for long enough.
func newConnection(r *rand.Rand, profile Profile, p *model.Policy, id string, from, until time.Duration) *Connection {
	k := profile.kind(r)
	c := &Connection{
		ID: id, Kind: k.name, Family: Family(r.IntN(3)), Server: r.IntN(2) == 0, Port: r.IntN(3), Loopback: r.IntN(5) == 0,
	}
	if r.IntN(4) == 0 {
		c.Keepalive = newKeepalive(r)
	}
	c.Owner = r.IntN(2)
	c.Binds = !c.Server && r.IntN(10) == 0
	observed := k.script(r, p, c)
	var length time.Duration
	for _, s := range c.Steps {
		length += s.After
	}
	length += observed
	room := until - from - time.Second - length
	if room < 0 { // observed for a shorter time
		room = (until - from) / 3
	}
	c.At = from + 500*time.Millisecond + time.Duration(r.Int64N(int64(room)+1)).Truncate(time.Millisecond)
	c.Until = min(c.At+length, until-500*time.Millisecond)
	if c.At >= c.Until {
		return nil
	}
	return c
}

func newKeepalive(r *rand.Rand) *Keepalive {
	k := &Keepalive{On: r.IntN(2) == 0, Idle: 600 + r.IntN(1000), Interval: 20 + r.IntN(50), Count: 3 + r.IntN(5)}
	if r.IntN(2) == 0 {
		k.UserTimeout = 600_000 + r.IntN(1000)
	}
	return k
}
