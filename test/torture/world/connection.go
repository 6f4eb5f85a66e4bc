// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/torture/agent"
	"github.com/halfclose/halfclose/test/torture/model"
	"github.com/halfclose/halfclose/test/torture/plan"
)

// connection is a connection that a script plays.
type connection struct {
	w          *World
	ns         *namespace
	plan       *plan.Connection
	home, away *end
	client     string // the address of the client, for a later connection with the same
	silent     bool
	listener   *listener
	to         string // the server's address, as the client names it
}

// end is one end of a connection.
type end struct {
	process *process
	name    string
	options *agent.Options // as the owner has set them
	sent    int            // bytes that this end has sent
	read    int            // bytes that it has read
	lost    bool           // the other end may not have got them
	track   *track         // nil outside
}

// track is a socket in a registered namespace, while it is followed.
type track struct {
	mu     sync.Mutex
	socket *model.Socket
	unread int
	ended  chan struct{}
}

// add notes an event.
func (t *track) add(e model.Event) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Unread = t.unread
	t.socket.Events = append(t.socket.Events, e)
}

// pending changes the number of unread bytes.
func (t *track) pending(by int) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unread += by
}

// hasEnded notes the end.
func (t *track) hasEnded(a agent.Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.socket.End != nil {
		return
	}
	how := model.Other
	switch a.Errno {
	case unix.ECONNABORTED:
		how = model.Destroyed
	case unix.EPIPE, unix.ECONNRESET:
		how = model.Reset
	case unix.ETIMEDOUT:
		how = model.TimedOut
	}
	t.socket.End = &model.Ending{How: how, From: a.Before, To: a.After}
	close(t.ended)
}

// playConnection plays the script of a connection.
func (w *World) playConnection(ctx context.Context, n *namespace, p *plan.Connection) error {
	if w.sleepUntil(ctx, p.At) != nil || n.isDeleted() {
		return nil
	}
	if p.Same != "" && !w.isFinished(p.Same) { // its SYN would have the kernel reset the earlier one
		w.skip(p.ID, fmt.Errorf("%s is still open: its owner was frozen", p.Same))
		return nil
	}
	c := &connection{w: w, ns: n, plan: p}
	if err := c.open(); err != nil {
		if p.Same != "" || n.isDeleted() {
			w.skip(p.ID, err)
			return nil
		}
		return fmt.Errorf("open %s (%s): %w", p.ID, p.Kind, err)
	}
	for _, s := range p.Steps {
		if !c.wait(ctx, s.After) {
			break
		}
		if err := c.step(s); err != nil {
			if c.endsSoon() || n.isDeleted() {
				break
			}
			w.fault("%s (%s): step %d: %v", p.ID, p.Kind, s.Do, err)
			break
		}
	}
	until := w.cfg.Start + p.Until - model.Now()
	c.wait(ctx, until)
	if n.isDeleted() {
		c.abandon()
		return nil
	}
	c.finish()
	w.setFinished(p.ID)
	return nil
}

func (w *World) skip(id string, err error) {
	w.cfg.Log("skipped %s: %v", id, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skipped++
}

// wait waits, and reports whether the connection has not ended.
func (c *connection) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-c.home.track.ended:
		return false
	case <-time.After(d):
		return true
	}
}

// endsSoon reports whether the connection has ended: the news may come after the failed order.
func (c *connection) endsSoon() bool {
	select {
	case <-c.home.track.ended:
		return true
	case <-time.After(5 * time.Second):
		return false
	}
}

// open opens the connection.
func (c *connection) open() error {
	p, n := c.plan, c.ns
	owner, peer := n.owners[p.Owner], c.w.outside
	homeAt, awayAt := home(n.plan.Index, p.Family), away(n.plan.Index, p.Family)
	if p.Loopback {
		peer, homeAt, awayAt = n.local, loopback(p.Family), loopback(p.Family)
	}
	if p.Family == plan.Mapped && !p.Loopback {
		awayAt = away(n.plan.Index, plan.IPv4) // the peer's socket is an IPv4 socket
	}
	c.home = &end{process: owner, name: p.ID}
	c.away = &end{process: peer, name: p.ID + "/away"}
	server, client, at := c.away, c.home, awayAt
	index := p.Port
	if p.Family == plan.Mapped {
		index += plan.MappedPorts // an IPv6 socket cannot listen beside an IPv4 socket
	}
	port, prefix := uint16(plan.AwayPort(index)), "away"
	if p.Server {
		server, client, at = c.home, c.away, homeAt
		port, prefix = uint16(plan.HomePort(p.Owner, index)), "home"
	}
	name := fmt.Sprintf("%s-%v-%d", prefix, at, port)
	if p.Unqueued {
		port, name = uint16(plan.QueuePort(c.number())), name+"-"+p.ID
	}
	l, err := n.listen(server.process, netip.AddrPortFrom(at, port).String(), name)
	if err != nil {
		return err
	}
	c.listener = l
	to := at
	if p.Family == plan.Mapped {
		if p.Server && !p.Loopback {
			to = at.Unmap() // the peer's socket is an IPv4 socket
		} else {
			to = netip.AddrFrom16(at.As16())
		}
	}
	return c.connect(l, server, client, netip.AddrPortFrom(to, port))
}

// number returns the number of the connection in its namespace.
func (c *connection) number() int {
	return slices.IndexFunc(c.ns.plan.Connections, func(p plan.Connection) bool { return p.ID == c.plan.ID })
}

// connect connects the client with the listener, and accepts.
func (c *connection) connect(l *listener, server, client *end, to netip.AddrPort) error {
	p := c.plan
	c.to = to.String()
	l.Lock()
	defer l.Unlock()
	connect := agent.Order{Op: agent.Connect, Conn: client.name, Address: c.to, Options: c.optionsOf(client)}
	if p.Same != "" {
		connect.Local = c.w.clientOf(p.Same)
		if connect.Local == "" {
			return errors.New("the connection before it was not made")
		}
	} else if p.Binds {
		connect.Local = netip.AddrPortFrom(c.localFor(to.Addr()), 0).String()
	}
	connected, err := client.process.order(connect)
	if err != nil {
		return err
	}
	client.options, c.client = connected.Options, connected.Local
	c.w.noteClient(p.ID, c.client)
	clientPort := port(connected.Local)
	if p.Unqueued {
		c.follow(server, clientPort, to.Port(), false)
		return nil
	}
	accepted, err := server.process.order(agent.Order{Op: agent.Accept, Conn: server.name, Listener: l.name, Options: c.optionsOf(server)})
	if err != nil {
		return err
	}
	server.options = accepted.Options
	c.follow(server, clientPort, to.Port(), true)
	return nil
}

// localFor returns the address from which the client connects.
func (c *connection) localFor(to netip.Addr) netip.Addr {
	switch {
	case to.Is4():
		return netip.IPv4Unspecified()
	case to.Is4In6() && !c.plan.Loopback:
		return home(c.ns.plan.Index, plan.Mapped)
	case to.Is4In6():
		return to
	}
	return netip.IPv6Unspecified()
}

// optionsOf returns the options that the home end sets.
func (c *connection) optionsOf(e *end) *agent.Options {
	k := c.plan.Keepalive
	if e != c.home || k == nil {
		return nil
	}
	o := &agent.Options{Idle: k.Idle, Interval: k.Interval, Count: k.Count, UserTimeout: k.UserTimeout}
	if k.On {
		o.Keepalive = 1
	}
	return o
}

// follow begins to follow the ends in the namespace.
func (c *connection) follow(server *end, clientPort, serverPort uint16, accepted bool) {
	follow := func(e *end) {
		s := &model.Socket{
			ID: e.name, Kind: c.plan.Kind, Netns: c.ns.plan.Name, Loopback: c.plan.Loopback, Accepted: true,
			Commands: []string{c.ns.plan.Owners[c.plan.Owner].Command}, Until: model.Forever,
		}
		if e == c.away {
			s.Commands = []string{"local"}
		}
		if e == server {
			s.Role, s.LocalPort, s.PeerPort, s.Accepted = model.Server, serverPort, clientPort, accepted
		} else {
			s.Role, s.LocalPort, s.PeerPort, s.Binds = model.Client, clientPort, serverPort, c.plan.Binds || c.plan.Same != ""
		}
		e.track = c.w.newTrack(s)
		e.process.onEnd(e.name, e.track.hasEnded)
		c.ns.addTrack(e.process, e.track)
	}
	follow(c.home)
	if c.plan.Loopback {
		follow(c.away)
		c.home.track.socket.Partner, c.away.track.socket.Partner = c.away.track.socket, c.home.track.socket
	}
}

func (w *World) newTrack(s *model.Socket) *track {
	t := &track{socket: s, ended: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tracks = append(w.tracks, t)
	return t
}

func (n *namespace) addTrack(p *process, t *track) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tracks[p] == nil {
		n.tracks[p] = make(map[*track]struct{})
	}
	n.tracks[p][t] = struct{}{}
}

func port(address string) uint16 {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0
	}
	return a.Port()
}

// finish ends the observation: it reads what is left of each end in the namespace, and closes both ends.
func (c *connection) finish() {
	c.finishEnd(c.home, c.away)
	if c.away.track != nil {
		c.finishEnd(c.away, c.home)
		return
	}
	_, _ = c.away.process.order(agent.Order{Op: agent.Close, Conn: c.away.name}) // the script may have closed it
}

// restored is how long a socket may have the options of a question: until its answer, or until the next reaper.
const restored = 30 * time.Second

// finishEnd closes an end and compares its options and bytes.
func (c *connection) finishEnd(e, other *end) {
	if e.options == nil { // it was never accepted
		e.track.stop(model.Now())
		_, _ = c.listener.owner.order(agent.Order{Op: agent.Close, Listener: c.listener.name})
		return
	}
	a, err := e.process.order(agent.Order{Op: agent.Finish, Conn: e.name, Options: e.options, Patience: restored})
	if err != nil {
		e.track.stop(model.Now()) // the script has closed it
		return
	}
	if e.track.stop(a.Before) {
		e.track.add(model.Event{Kind: model.Closed, Span: span(a)})
	}
	if *a.Options != *e.options {
		c.w.fault("options of %s (%s in %s): %+v, were %+v, at %v", e.name, c.plan.Kind, c.ns.plan.Name, *a.Options, *e.options, a.Before-c.w.cfg.Start)
	}
	if a.Wrong || e.read+a.N != other.sent && !other.lost {
		c.w.fault("bytes of %s (%s in %s): %d+%d were read, the peer has sent %d (wrong: %v)", e.name, c.plan.Kind, c.ns.plan.Name,
			e.read, a.N, other.sent, a.Wrong)
	}
}

// stop ends the observation of a socket that has not ended, and reports whether it has not.
func (t *track) stop(at model.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.socket.End == nil {
		t.socket.Until = min(t.socket.Until, at)
	}
	return t.socket.End == nil
}

// abandon ends the observation of a connection whose processes are gone.
func (c *connection) abandon() {
	at := c.ns.vanishedAt()
	c.home.track.abandon(at)
	if c.away.track != nil {
		c.away.track.abandon(at)
		return
	}
	_, _ = c.away.process.order(agent.Order{Op: agent.Close, Conn: c.away.name})
}

// abandon ends the observation at a time, whatever the death of the processes did to the socket.
func (t *track) abandon(at model.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.socket.End != nil && t.socket.End.To >= at {
		t.socket.End = nil
	}
	if t.socket.End == nil {
		t.socket.Until = min(t.socket.Until, at)
	}
}
