// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/torture/agent"
	"github.com/halfclose/halfclose/test/torture/model"
	"github.com/halfclose/halfclose/test/torture/plan"
)

// step carries out one step of a script, and notes what happened to both ends.
func (c *connection) step(s plan.Step) error {
	switch s.Do {
	case plan.AwayShuts:
		return c.shut(c.away, c.home, model.CloseWait, model.FinWait2)
	case plan.HomeShuts:
		return c.shut(c.home, c.away, model.FinWait2, model.CloseWait)
	case plan.AwayWrites:
		return c.write(c.away, c.home, s.N)
	case plan.AwaySends:
		return c.send(c.away, c.home, s.N)
	case plan.HomeSends:
		return c.send(c.home, c.away, s.N)
	case plan.HomeReads:
		return c.read(c.home, s.N)
	case plan.HomeWrites:
		return c.writeUnacked(s.N)
	case plan.AwayCloses:
		return c.closeAway()
	case plan.AwayForgets:
		return c.order(c.away, agent.Forget, model.PeerGone)
	case plan.AwaySilent:
		c.silent = true
		return c.order(c.away, agent.Silence, model.PeerSilent)
	case plan.AwayBack:
		c.silent = false
		return c.order(c.away, agent.Hear, model.PeerBack)
	case plan.HomeAccepts:
		return c.accept()
	case plan.HomeReconnects:
		return c.reconnect()
	case plan.HomeCloses:
		return c.closeHome()
	}
	return fmt.Errorf("unknown step %d", s.Do)
}

func span(a agent.Answer) model.Span { return model.Span{Before: a.Before, After: a.After} }

// order orders an end to do something that changes what the home end's peer answers.
func (c *connection) order(e *end, op agent.Op, kind model.EventKind) error {
	a, err := e.process.order(agent.Order{Op: op, Conn: e.name})
	if err == nil {
		c.home.track.add(model.Event{Kind: kind, Span: span(a)})
		if op == agent.Forget {
			kind = model.Closed
		}
		c.away.track.add(model.Event{Kind: kind, Span: span(a)}) // a silent end hears nothing either
	}
	return err
}

// shut shuts down the sending side of one end. The state of the home end is homeState afterwards, that of the other awayState.
func (c *connection) shut(e, other *end, homeState, awayState model.State) error {
	a, err := e.process.order(agent.Order{Op: agent.Shut, Conn: e.name})
	if err != nil {
		return err
	}
	// FIN_WAIT2 means that the other end has acknowledged the FIN, so it is in CLOSE_WAIT.
	await := agent.Order{Op: agent.Await, Conn: e.name, State: unix.BPF_TCP_FIN_WAIT2, Patience: time.Minute}
	by := e
	if c.silent && e == c.away {
		await.Conn, await.State, by = other.name, unix.BPF_TCP_CLOSE_WAIT, other
	}
	done, err := by.process.order(await)
	at := model.Span{Before: a.Before, After: done.After}
	if err != nil {
		at.After = model.Now()
	}
	c.home.track.add(model.Event{Kind: model.HalfClosed, Span: at, State: homeState})
	c.away.track.add(model.Event{Kind: model.HalfClosed, Span: at, State: awayState})
	return err
}

// write writes bytes that the other end does not read.
func (c *connection) write(from, to *end, n int) error {
	a, err := from.process.order(agent.Order{Op: agent.Write, Conn: from.name, N: n})
	if err != nil {
		return err
	}
	from.sent += n
	to.track.pending(n)
	from.track.add(model.Event{Kind: model.Progress, Span: span(a)})
	to.track.add(model.Event{Kind: model.Progress, Span: span(a)})
	return nil
}

// read reads bytes that have arrived.
func (c *connection) read(e *end, n int) error {
	a, err := e.process.order(agent.Order{Op: agent.Read, Conn: e.name, N: n})
	e.read += a.N
	if err != nil {
		return err
	}
	if a.Wrong {
		c.w.fault("%s read wrong bytes", e.name)
	}
	e.track.pending(-n)
	e.track.add(model.Event{Kind: model.Progress, Span: span(a)})
	return nil
}

// send writes bytes that the other end reads.
func (c *connection) send(from, to *end, n int) error {
	if err := c.write(from, to, n); err != nil {
		return err
	}
	return c.read(to, n)
}

// writeUnacked writes bytes that a silent peer does not acknowledge.
func (c *connection) writeUnacked(n int) error {
	c.home.lost = true
	a, err := c.home.process.order(agent.Order{Op: agent.Write, Conn: c.home.name, N: n, Unacked: true})
	if err == nil {
		c.home.sent += n
		c.home.track.add(model.Event{Kind: model.Wrote, Span: span(a)})
	}
	return err
}

// closeAway closes the peer, which its kernel forgets after its timeout.
func (c *connection) closeAway() error {
	a, err := c.away.process.order(agent.Order{Op: agent.Close, Conn: c.away.name})
	if err != nil {
		return err
	}
	if c.away.track != nil {
		c.away.track.add(model.Event{Kind: model.Closed, Span: span(a)})
	}
	// The kernel's timer is in ticks of up to 10 ms and may be late by an eighth (its timer wheel).
	const timeout = finTimeout * time.Second
	c.home.track.add(model.Event{Kind: model.PeerGone, Span: model.Span{
		Before: a.Before + timeout - 100*time.Millisecond, After: a.After + timeout + time.Second,
	}})
	return nil
}

// accept accepts the connection at last.
func (c *connection) accept() error {
	a, err := c.home.process.order(agent.Order{Op: agent.Accept, Conn: c.home.name, Listener: c.listener.name, Options: c.optionsOf(c.home)})
	if err != nil {
		return err
	}
	c.home.options = a.Options
	c.home.track.add(model.Event{Kind: model.Accepted, Span: span(a)})
	return nil
}

// reconnect connects the same socket again. For the model it is another socket.
func (c *connection) reconnect() error {
	c.listener.Lock()
	defer c.listener.Unlock()
	begun := model.Now()
	_, _ = c.away.process.order(agent.Order{Op: agent.Close, Conn: c.away.name}) // so that its FIN does not meet the new connection
	a, err := c.home.process.order(agent.Order{Op: agent.Reconnect, Conn: c.home.name, Address: c.to})
	if err != nil {
		return err
	}
	c.away.name += "'"
	if _, err := c.away.process.order(agent.Order{Op: agent.Accept, Conn: c.away.name, Listener: c.listener.name}); err != nil {
		return err
	}
	old := c.home.track
	if old.stop(begun) {
		old.add(model.Event{Kind: model.Closed, Span: model.Span{Before: begun, After: a.After}})
	}
	old.mu.Lock()
	s := *old.socket
	old.mu.Unlock()
	s.ID, s.Events, s.Until, s.LocalPort, s.End = s.ID+"'", nil, model.Forever, port(a.Local), nil
	c.home.track = c.w.newTrack(&s)
	c.home.process.onEnd(c.home.name, c.home.track.hasEnded)
	c.ns.addTrack(c.home.process, c.home.track)
	c.home.sent, c.home.read, c.away.sent, c.away.read = 0, 0, 0, 0
	return nil
}

// closeHome closes the home end.
func (c *connection) closeHome() error {
	c.finishEnd(c.home, c.away)
	return nil
}
