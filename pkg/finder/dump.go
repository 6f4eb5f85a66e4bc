// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"errors"
	"time"

	"github.com/halfclose/halfclose/internal/pacing"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// dumper dumps the half-closed sockets of one network namespace at a time.
type dumper struct {
	opener Opener
	clock  monotime.Clock
	batch  batch
}

// dumpOrder is one network namespace to dump.
type dumpOrder struct {
	netns        Netns
	expected     time.Duration // the cost; 0: unknown
	roles        roles         // of the dump before
	looksUpRoles bool          // of the sockets without one
	maxSockets   int           // with more the dump ends with errOverfull; 0: no maximum
}

// dump is the outcome of a dump.
type dump struct {
	sockets  int
	cpu      time.Duration // of everything
	cost     time.Duration // of the dump alone; 0 if the network namespace was not read
	roles    roles         // for the next dump
	began    monotime.Time
	duration time.Duration // without the time in seen
	err      error
}

// errOverfull means that a network namespace has more sockets than the order allows.
var errOverfull = errors.New("more half-closed sockets than a sweep beside others may read")

// cheapDump is the cost of a dump below which it is not worth asking first whether the network namespace has
// any TCP socket: asking costs 0.08 ms.
const cheapDump = 500 * time.Microsecond

// dump reports the half-closed sockets of one network namespace to seen. An error of seen ends the dump.
func (p *dumper) dump(o dumpOrder, seen func([]Seen) error) (d dump) {
	d.began, d.roles = p.clock.Now(), o.roles
	conn, err := p.opener.openIf(o.netns, func() (inUse bool) {
		if o.expected > 0 && o.expected < cheapDump {
			return true
		}
		d.cpu += pacing.MeasureCPU(func() { inUse = hasTCP() })
		return inUse
	})
	if err != nil || conn == nil {
		d.err, d.duration = err, p.clock.Now().Sub(d.began)
		return d
	}
	lookup := roleLookup{opener: p.opener, netns: o.netns, before: o.roles, off: !o.looksUpRoles}
	d.cost = pacing.MeasureCPU(func() { d.err = p.read(conn, &o, &d, &lookup, seen) })
	d.cpu += d.cost
	d.roles = lookup.finish(d.err == nil)
	conn.Close()                            // not later: it pins the network namespace
	d.duration = p.clock.Now().Sub(d.began) // before the last batch is reported
	if err := p.flush(seen); d.err == nil {
		d.err = err
	}
	return d
}

// read reports the half-closed sockets that conn dumps, except for a last batch, which stays in p.batch.
func (p *dumper) read(conn *inetdiag.Conn, o *dumpOrder, d *dump, lookup *roleLookup, seen func([]Seen) error) error {
	asked := p.clock.Now()
	err := conn.Dump(inetdiag.Filter{States: inetdiag.HalfClosed, Info: true}, func(sock *inetdiag.Socket) error {
		if d.sockets++; o.maxSockets > 0 && d.sockets > o.maxSockets {
			return errOverfull
		}
		if p.batch.isFull() {
			p.complete(lookup)
			if err := p.flush(seen); err != nil {
				return err
			}
		}
		p.batch.add(Seen{Netns: lookup.netns.Identity, Socket: *sock, Asked: asked})
		return nil
	})
	p.complete(lookup)
	return err
}

// flush reports the batch.
func (p *dumper) flush(seen func([]Seen) error) (err error) {
	if len(p.batch.seen) > 0 {
		err = seen(p.batch.seen)
	}
	p.batch.clear()
	return err
}

// complete adds to the batch the values that a dump lacks: the roles, and one time for all of its sockets, which is not
// before the kernel read any of them. Reading the clock costs a tenth of what reading a socket does.
func (p *dumper) complete(lookup *roleLookup) {
	p.batch.stamp(p.clock.Now())
	lookup.decide(p.batch.seen)
}
