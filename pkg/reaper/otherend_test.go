// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// TestClientOfAServerWithGraceNeverSurvives half-closes a client with a short grace. Its server, in another network
// namespace, still computes the answer.
func TestClientOfAServerWithGraceNeverSurvives(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		client, server, beside := newNS(t), newNS(t), newNS(t)
		nstest.Link(t, client, server)
		p := shut(t, client.ConnectFrom(t, nstest.LinkA, server.ListenAt(t, nstest.LinkB+":0")))
		n := newNode(t, finder)
		never := n.register(server, short(func(p *policy.Policy) { p.CloseWaitGrace, p.FinWait2Grace = policy.Never, policy.Never }))
		n.register(client, timing(inetdiag.FinWait2, soon))
		n.register(beside, timing(inetdiag.FinWait2, soon))
		n.awaitVerdict(p.Client, policy.PeerSpared)
		n.outlive(beside, inetdiag.FinWait2)
		n.stillSpared(p.Client, api.SocketQuery{}, policy.PeerSpared)
		answers(t, p)

		never.Layers = n.record(server, timing(inetdiag.FinWait2, soon)).Layers // if the server's grace is only longer, the client's policy alone decides
		if err := n.store.Put(never); err != nil {
			t.Fatal(err)
		}
		n.awaitDestroyed(p.Client)
		n.untouched(p.Server)
	})
}

func TestReceiverWithUnreadBytesSparesItsSender(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		p, connect := backlogged(t, ns), apart(t, ns)
		n := newNode(t, finder)
		n.register(ns, short(func(p *policy.Policy) { p.PendingGrace = endless }))
		n.awaitVerdict(p.Client, policy.PeerSpared)
		n.outliveBy(inetdiag.FinWait2, connect)
		n.stillSpared(p.Server, api.SocketQuery{}, policy.UnreadData)
		drain(t, p.Server, bytesBacklog)
		answers(t, p)
	})
}
