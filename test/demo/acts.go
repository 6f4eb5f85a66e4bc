// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/peer"
)

// The graces that the containers set by annotation, in place of the network's.
const (
	clientGrace = 4 * time.Second // of FIN_WAIT2
	serverGrace = 8 * time.Second // of CLOSE_WAIT
)

// attach creates the containers.
func (d *demo) attach(ctx context.Context) (err error) {
	d.client, err = newContainer("client", map[string]string{policy.AnnotationFinWait2Grace: clientGrace.String()})
	if err != nil {
		return err
	}
	d.server, err = newContainer("server", map[string]string{policy.AnnotationCloseWaitGrace: serverGrace.String()})
	if err != nil {
		return err
	}
	d.printf("libcni calls ADD for each container with %s: bridge with host-local, tuning, halfclose.", conflist)
	d.printf("The network's grace is %v for both states. By annotation, the client has %v for FIN_WAIT2, and the server %v for CLOSE_WAIT.\n",
		d.policy.CloseWaitGrace, clientGrace, serverGrace)
	for _, c := range []*container{d.client, d.server} {
		if err := c.attach(ctx, d.cni, d.network); err != nil {
			return err
		}
		timeout, err := output(node.Command(c.runtime.NetNS, "cat", "/proc/sys/net/ipv4/tcp_fin_timeout"))
		if err != nil {
			return err
		}
		if err := d.check(claim{
			fmt.Sprintf("%s has the address %s, and tcp_fin_timeout 30: the kernel closes orphaned FIN_WAIT2 sockets after that time", c.name, c.addr),
			want("30\n", timeout),
		}); err != nil {
			return err
		}
	}
	listing, err := d.store.List(ctx)
	if err != nil {
		return err
	}
	if err := d.check(claim{"each container has a record in " + d.store.AttachmentsDir(), want(2, len(listing.Records))}); err != nil {
		return err
	}
	if err := d.started(ctx); err != nil {
		return err
	}
	if err := d.client.start("client"); err != nil {
		return err
	}
	return d.server.start("leaky-server")
}

// started shows the reaper that the first ADD started.
func (d *demo) started(ctx context.Context) error {
	err := nstest.Retry(10*time.Second, func() error {
		s, err := d.reaper.Status(ctx)
		if err != nil {
			return err
		}
		return want(2, s.Namespaces)
	})
	if err != nil {
		return err
	}
	s, err := d.reaper.Status(ctx)
	if err != nil {
		return err
	}
	session, err := unix.Getsid(s.Holder.PID)
	if err != nil {
		return err
	}
	if s.Mode.KernelProblem != "" {
		return errors.New(s.Mode.KernelProblem)
	}
	err = d.check(
		claim{fmt.Sprintf("the first ADD started the reaper, process %d", s.Holder.PID), want(api.ByPlugin, s.Holder.StartedBy)},
		claim{"the reaper has its own session", want(s.Holder.PID, session)},
		claim{"the reaper has read both records", want(2, s.Namespaces)},
	)
	if err != nil {
		return err
	}
	d.printf("")
	return d.show(d.halfclose("status"))
}

// The connections, from client to server.
const (
	leaked   = "leaked"   // the client closes, the server does nothing
	halfShut = "halfshut" // the client shuts its sending direction, and that is all
	busy     = "busy"     // the client has shut its sending direction, and the server goes on sending
	quiet    = "quiet"    // open in both directions; nothing is sent
)

// connect opens the connections.
func (d *demo) connect(context.Context) error {
	client, server := d.client.process, d.server.process
	for _, name := range []string{busy, quiet, halfShut, leaked} {
		if err := d.open(name, "open", d.client, d.server); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		by          *process
		order, name string
		text        string
	}{
		{client, "shut", busy, "client: shutdown(busy, SHUT_WR)"},
		{server, "stream", busy, "server: keeps sending on busy, 10 kB per second"},
		{client, "drain", busy, "client: keeps reading from busy"},
		{client, "shut", halfShut, "client: shutdown(halfshut, SHUT_WR), and keeps the socket open"},
		{client, "close", leaked, "client: close(leaked); the server never closes its end: a leak"},
	} {
		d.printf("  %s", step.text)
		if _, err := step.by.Order(step.order, step.name); err != nil {
			return err
		}
	}
	d.printf("  quiet stays open in both directions, without traffic\n")
	var before table
	err := nstest.Retry(5*time.Second, func() (err error) { // the peer's kernel may delay its ACK of a FIN
		if before, err = d.sockets(); err != nil {
			return err
		}
		return errors.Join(before.is(busy, atClient, "FIN-WAIT-2"), before.is(halfShut, atClient, "FIN-WAIT-2"), before.is(leaked, atClient, "FIN-WAIT-2"))
	})
	if err != nil {
		return err
	}
	if err := d.showSockets(d.client, d.server); err != nil {
		return err
	}
	return d.check(
		claim{"leaked: CLOSE-WAIT at the server, for which the kernel has no timer", before.is(leaked, atServer, "CLOSE-WAIT")},
		claim{"leaked: FIN-WAIT-2 at the client, without an owner: tcp_fin_timeout closes it", before.is(leaked, atClient, "FIN-WAIT-2")},
		claim{"halfshut: FIN-WAIT-2 at the client, with an owner: the kernel has no timer for it", before.is(halfShut, atClient, "FIN-WAIT-2")},
		claim{"halfshut: CLOSE-WAIT at the server", before.is(halfShut, atServer, "CLOSE-WAIT")},
		claim{"busy: the same two states, but still in use", errors.Join(before.is(busy, atClient, "FIN-WAIT-2"), before.is(busy, atServer, "CLOSE-WAIT"))},
		claim{"quiet: ESTAB at both ends", errors.Join(before.is(quiet, atClient, "ESTAB"), before.is(quiet, atServer, "ESTAB"))},
	)
}

// open opens a connection by that order.
func (d *demo) open(name, order string, from, to *container) error {
	local, err := from.process.Order(order, name, to.addr.String())
	if err != nil {
		return err
	}
	if d.connected[name], err = netip.ParseAddrPort(local); err != nil {
		return err
	}
	_, err = to.process.Order("wait", name)
	return err
}

// showVerdicts shows the reaper's verdicts.
func (d *demo) showVerdicts(ctx context.Context) error {
	var views map[string]api.SocketView
	err := nstest.Retry(clientGrace, func() (err error) {
		if views, err = d.views(ctx, api.SocketQuery{All: true, Owners: true}); err != nil {
			return err
		}
		return want(policy.Progressing, views[busy+atServer].Verdict)
	})
	if err != nil {
		return err
	}
	if err := d.show(d.halfclose("sockets", "--all", "--owners")); err != nil {
		return err
	}
	owner := "no process"
	if o := views[leaked+atServer].Owners; len(o) > 0 {
		owner = o[0].Command
	}
	return d.check(
		claim{"the server's end of leaked is owned by the process leaky-server", want("leaky-server", owner)},
		claim{"the client's end of leaked has no owner: halfclose leaves it to the kernel", want(policy.Orphan, views[leaked+atClient].Verdict)},
		claim{"busy makes progress, so it is kept", want(policy.Progressing, views[busy+atServer].Verdict)},
		claim{"quiet is not half-closed", want(policy.NotHalfClosed, views[quiet+atServer].Verdict)},
	)
}

// wait follows the history until both sockets have been destroyed.
func (d *demo) wait(ctx context.Context) error {
	d.printf("The grace is %v for the client's FIN_WAIT2, and %v for the server's CLOSE_WAIT:\n", clientGrace, serverGrace)
	entries, err := d.follow(ctx, 2)
	if err != nil {
		return err
	}
	d.printf("")
	return d.check(
		claim{"halfshut was destroyed at the client, after its grace", d.destroyed(entries[0], halfShut, inetdiag.FinWait2, clientGrace)},
		claim{"leaked was destroyed at the server, after its grace", d.destroyed(entries[1], leaked, inetdiag.CloseWait, serverGrace)},
	)
}

// follow waits until the history has this number of entries, prints each new one, and returns all.
func (d *demo) follow(ctx context.Context, number int) (entries []api.Entry, err error) {
	began := time.Now()
	err = nstest.Retry(30*time.Second, func() error {
		page, err := d.reaper.History(ctx, api.HistoryQuery{})
		if entries = page.Entries; err != nil {
			return err
		}
		for ; d.shown < len(entries); d.shown++ {
			e := entries[d.shown]
			outcome := e.Outcome
			if e.How != "" {
				outcome += " (" + e.How + ")"
			}
			d.printf("  after %4.1fs  %s %s in %s, %s to %s, half-closed for %.1fs, idle for %.1fs", time.Since(began).Seconds(),
				outcome, e.State, e.Pod, e.Local, e.Peer, time.Duration(e.Age).Seconds(), time.Duration(e.Idle).Seconds())
		}
		if len(entries) < number {
			return fmt.Errorf("the history has %d entries, not %d", len(entries), number)
		}
		return nil
	})
	return entries, err
}

// destroyed returns an error unless the entry is that of the named connection.
func (d *demo) destroyed(e api.Entry, name string, state inetdiag.State, grace time.Duration) error {
	local, remote := netip.AddrPortFrom(d.server.addr, peer.Port), d.connected[name]
	if state == inetdiag.FinWait2 {
		local, remote = remote, local
	}
	err := errors.Join(want(api.Destroyed, e.Outcome), want(local, e.Local), want(remote, e.Peer), want(state, e.State))
	if time.Duration(e.Age) < grace {
		err = errors.Join(err, fmt.Errorf("its age was %v, less than %v", time.Duration(e.Age), grace))
	}
	return err
}

// owners shows the effect on the applications.
func (d *demo) owners(context.Context) error {
	client, server := d.client.process, d.server.process
	var claims []claim
	for _, step := range []struct {
		by          *process
		order, name string
		want, text  string
	}{
		{server, "send", leaked, "ECONNABORTED", "leaked, destroyed at the server: send there returns ECONNABORTED"},
		{client, "recv", halfShut, "ECONNABORTED", "halfshut, destroyed at the client: recv there returns ECONNABORTED"},
		{server, "recv", halfShut, "EOF", "halfshut, at the server: recv returns EOF"},
		{server, "send", halfShut, "EPIPE", "halfshut, at the server: send returns EPIPE"},
	} {
		got, err := step.by.Order(step.order, step.name, "hello")
		if err != nil {
			return err
		}
		claims = append(claims, claim{step.text, want(step.want, got)})
	}
	return d.check(claims...)
}
