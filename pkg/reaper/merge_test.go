// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"net"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// registerAs records one more attachment of the namespace.
func (n *node) registerAs(ns *nstest.NS, ifname string, p policy.Policy) state.Record {
	n.tb.Helper()
	r := n.record(ns, p)
	r.IfName = ifname
	if err := n.store.Put(r); err != nil {
		n.tb.Fatal(err)
	}
	return r
}

// abandoned creates an IPv6 connection whose client is an orphan that the kernel will close. The server is in
// CLOSE_WAIT.
func abandoned(t *testing.T, ns *nstest.NS, port string) *net.TCPConn {
	t.Helper()
	l := ns.ListenAt(t, "[::1]:"+port)
	defer l.Close()
	p := ns.ConnectFrom(t, "", l)
	check(t, "the client's send", sent(p.Client), nil)
	orphan(t, p.Client)
	return p.Server
}

// TestTheMostConservativePolicyOfANamespaceApplies registers two attachments. One spares a socket that the other would
// have destroyed; both would destroy a second socket.
func TestTheMostConservativePolicyOfANamespaceApplies(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for name, tc := range map[string]struct {
			careful func(*policy.Policy)
			want    policy.Reason
		}{
			"the longer grace":       {func(p *policy.Policy) { p.CloseWaitGrace = policy.Patience(100 * time.Hour) }, policy.WithinGrace},
			"no grace that ends":     {func(p *policy.Policy) { p.CloseWaitGrace = policy.Never }, policy.GraceNever},
			"pending data kept":      {func(p *policy.Policy) { p.PendingGrace = policy.Never }, policy.UnreadData},
			"its exemptions as well": {exempting(t, `[{"localPorts": "7000"}]`), policy.Exempted},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ns := newNS(t)
				n, connect := newNode(t, finder), apart(t, ns)
				strict := short(pendingDestroy, exempting(t, `[{"localPorts": "8000"}]`))
				strict.CloseWaitGrace = policy.Patience(lenient)
				careful := strict
				tc.careful(&careful)
				n.registerAs(ns, "eth0", strict)
				second := n.registerAs(ns, "eth1", careful)
				n.registerAs(ns, "eth2", strict)
				nstest.Eventually(t, patience, "all are known", func() bool { return len(n.status().Attachments) == 3 })
				conn, exempt := abandoned(t, ns, "7000"), abandoned(t, ns, "8000")
				n.awaitKnown(conn)
				n.outliveBy(inetdiag.FinWait2, connect) // the shorter grace is over then
				n.stillSpared(conn, api.SocketQuery{}, tc.want)

				// Without the more conservative one it is destroyed.
				if err := n.store.Delete(second.Attachment); err != nil {
					t.Fatal(err)
				}
				n.awaitDestroyed(conn)
				n.untouched(exempt)
			})
		}
	})
}

func TestTheMostConservativeModeOfANamespaceApplies(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := newNode(t, finder)
		n.registerAs(ns, "eth0", timing(inetdiag.CloseWait, soon))
		observing := n.registerAs(ns, "eth1", timing(inetdiag.CloseWait, soon, observe))
		nstest.Eventually(t, patience, "both are known", func() bool { return len(n.status().Attachments) == 2 })
		p := shut(t, ns.Connect(t, nstest.IPv4))
		n.awaitEntry(p.Server, "would-destroy")
		answers(t, p)
		if err := n.store.Delete(observing.Attachment); err != nil {
			t.Fatal(err)
		}
		n.awaitDestroyed(p.Server)
	})
}
