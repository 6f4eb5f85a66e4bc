// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// at returns a time, in seconds after the start of the tests, which is long after boot.
func at(seconds float64) monotime.Time {
	return monotime.Time(time.Hour).Add(time.Duration(seconds * float64(time.Second)))
}

var id = inetdiag.NewID(unix.AF_INET, netip.MustParseAddrPort("10.0.0.1:8080"), netip.MustParseAddrPort("10.0.0.2:5000"), 0, 7)

// closeWait is a socket that has received 100 bytes and a FIN, all read, and has sent 50, all acknowledged.
func closeWait(lastAck time.Duration, change ...func(*inetdiag.Socket)) *inetdiag.Socket {
	s := &inetdiag.Socket{ID: id, State: inetdiag.CloseWait, Inode: 4711, HasInfo: true}
	s.Info.BytesReceived, s.Info.BytesAcked, s.Info.LastAckRecv, s.Info.SegsIn = 101, 51, lastAck, 10
	s.Info.LastDataRecv = time.Hour // long before any look
	for _, c := range change {
		c(s)
	}
	return s
}

func finWait2(s *inetdiag.Socket) { s.State, s.Info.BytesReceived = inetdiag.FinWait2, 100 }

type look struct {
	at      float64
	socket  *inetdiag.Socket
	entered float64
}

func TestJudge(t *testing.T) {
	const lastAckOld = 30 * time.Second
	unowned := func(s *inetdiag.Socket) { s.Inode = 0 }
	unread := func(n uint32) func(*inetdiag.Socket) {
		return func(s *inetdiag.Socket) { s.RQueue = n }
	}
	unacked := func(s *inetdiag.Socket) { s.WQueue = 9 }
	received := func(n uint64) func(*inetdiag.Socket) {
		return func(s *inetdiag.Socket) { s.Info.BytesReceived += n; s.Info.SegsIn++ }
	}
	acked := func(n uint64) func(*inetdiag.Socket) {
		return func(s *inetdiag.Socket) { s.Info.BytesAcked += n; s.Info.SegsIn++ }
	}
	segments := func(n uint32) func(*inetdiag.Socket) {
		return func(s *inetdiag.Socket) { s.Info.SegsIn = n }
	}
	state := func(st inetdiag.State) func(*inetdiag.Socket) {
		return func(s *inetdiag.Socket) { s.State = st }
	}
	mptcp := func(s *inetdiag.Socket) { s.ULP = "mptcp" }
	tls := func(s *inetdiag.Socket) { s.ULP = "tls" }
	uid := func(n uint32) func(*inetdiag.Socket) {
		return func(s *inetdiag.Socket) { s.UID = n }
	}

	owned := policy.Facts{OwnersKnown: true, OwnersComplete: true, Owners: []policy.Owner{{Command: "srv"}}}
	by := func(commands ...string) policy.Facts {
		f := policy.Facts{OwnersKnown: true, OwnersComplete: true}
		for _, c := range commands {
			f.Owners = append(f.Owners, policy.Owner{Command: c})
		}
		return f
	}
	role := func(r policy.Role) *policy.Facts {
		f := owned
		f.Role = r
		return &f
	}
	facts := func(f policy.Facts) *policy.Facts { return &f }
	rules := func(all ...policy.Rule) func(*policy.Policy) {
		return func(p *policy.Policy) { p.Rules = all }
	}
	rule := func(m policy.Match, v policy.Values) policy.Rule { return policy.Rule{Match: m, Values: v} }
	client, server := policy.Match{Role: policy.RoleClient}, policy.Match{Role: policy.RoleServer}
	command := func(c string) policy.Match { return policy.Match{Commands: []string{c}} }
	grace := func(seconds policy.Patience) policy.Values { return policy.Values{Grace: new(seconds * second)} }
	idle := func(seconds float64) []look {
		return []look{{at: 0, entered: 0.5, socket: closeWait(0)}, {at: seconds, socket: closeWait(time.Duration(seconds * float64(time.Second)))}}
	}
	twoOwners := by("keep", "srv")

	// The grace is 20 s for CLOSE_WAIT and 40 s for FIN_WAIT2, pendingGrace 100 s, and no peer is asked, in all of them.
	for name, tc := range map[string]struct {
		policy func(*policy.Policy)
		looks  []look
		facts  *policy.Facts
		change func(*policy.History)
		want   policy.Reason
		due    float64 // the deadline, where there is one
		needs  bool    // the owners
	}{
		"a young one is spared until its grace ends": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 19, socket: closeWait(19 * time.Second)}},
			want:  policy.WithinGrace, due: 20,
		},
		"one that nothing spares is destroyed once its grace has ended": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 20, socket: closeWait(20 * time.Second)}},
			want:  policy.Destroyable, due: 20,
		},
		"the age that the last acknowledgement proves does not count": {
			looks: []look{{at: 0, socket: closeWait(15 * time.Second)}, {at: 5, socket: closeWait(20 * time.Second)}},
			want:  policy.WithinGrace, due: 20,
		},
		"one that was found late has its whole grace from the first look": {
			looks: []look{{at: 0, socket: closeWait(lastAckOld)}, {at: 19.9, socket: closeWait(lastAckOld + 19*time.Second)}},
			want:  policy.WithinGrace, due: 20,
		},
		"one that was seen when it half-closed has its grace from then": {
			looks: []look{{at: 30, entered: 10, socket: closeWait(0)}},
			want:  policy.Destroyable, due: 30,
		},
		"keepalives do not postpone": {
			looks: []look{
				{at: 0, socket: closeWait(0)}, {at: 15, socket: closeWait(0, segments(11))}, {at: 20, socket: closeWait(5*time.Second, segments(11))},
			},
			want: policy.Destroyable, due: 20,
		},
		"one that keeps sending in CLOSE_WAIT makes progress as of the later look": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 18, socket: closeWait(0, acked(1))}, {at: 21, socket: closeWait(3*time.Second, acked(1))}},
			want:  policy.Progressing, due: 38,
		},
		"what was written but not acknowledged yet is progress too": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 19, socket: closeWait(19*time.Second, unacked)}},
			want:  policy.Progressing, due: 119,
		},
		"one that keeps receiving in FIN_WAIT2 makes progress": {
			looks: []look{{at: 0, socket: closeWait(0, finWait2)}, {at: 39, socket: closeWait(0, finWait2, received(5))}, {at: 41, socket: closeWait(2*time.Second, finWait2, received(5))}},
			want:  policy.Progressing, due: 79,
		},
		"FIN_WAIT2 has a grace of its own": {
			looks: []look{{at: 0, socket: closeWait(0, finWait2)}, {at: 39, socket: closeWait(39*time.Second, finWait2)}},
			want:  policy.WithinGrace, due: 40,
		},
		"an owner that reads its backlog makes progress": {
			looks: []look{{at: 0, socket: closeWait(0, unread(51))}, {at: 10, socket: closeWait(10*time.Second, unread(31))}, {at: 25, socket: closeWait(25*time.Second, unread(31))}},
			want:  policy.Progressing, due: 110,
		},
		"reading the FIN is no progress": {
			looks: []look{{at: 0, socket: closeWait(0, unread(1))}, {at: 20, socket: closeWait(20*time.Second, unread(0))}},
			want:  policy.Destroyable, due: 20,
		},
		"reading the last byte and the FIN at once is progress": {
			looks: []look{{at: 0, socket: closeWait(0, unread(2))}, {at: 19, socket: closeWait(19*time.Second, unread(0))}, {at: 20, socket: closeWait(20*time.Second, unread(0))}},
			want:  policy.Progressing, due: 39,
		},
		"one with unread bytes is within its grace first": {
			looks: []look{{at: 0, socket: closeWait(0, unread(2))}, {at: 19, socket: closeWait(19*time.Second, unread(2))}},
			want:  policy.WithinGrace, due: 100,
		},
		"one with unread bytes is spared past its grace": {
			looks: []look{{at: 0, socket: closeWait(0, unread(2))}, {at: 99, socket: closeWait(99*time.Second, unread(2))}},
			want:  policy.UnreadData, due: 100,
		},
		"unread bytes spare no longer than pendingGrace": {
			looks: []look{{at: 0, socket: closeWait(0, unread(2))}, {at: 100, socket: closeWait(100*time.Second, unread(2))}},
			want:  policy.Destroyable, due: 100,
		},
		"a pendingGrace that is shorter than the grace does not shorten it": {
			policy: func(p *policy.Policy) { p.PendingGrace = second },
			looks:  []look{{at: 0, socket: closeWait(0, unread(2))}, {at: 19, socket: closeWait(19*time.Second, unread(2))}},
			want:   policy.WithinGrace, due: 20,
		},
		"a pendingGrace of never spares for good": {
			policy: func(p *policy.Policy) { p.PendingGrace = policy.Never },
			looks:  []look{{at: 0, socket: closeWait(0, unread(2))}, {at: 3000, socket: closeWait(3000*time.Second, unread(2))}},
			want:   policy.UnreadData,
		},
		"the FIN alone is no unread byte": {
			looks: []look{{at: 0, socket: closeWait(0, unread(1))}, {at: 20, socket: closeWait(20*time.Second, unread(1))}},
			want:  policy.Destroyable, due: 20,
		},
		"in FIN_WAIT2 a single byte is": {
			looks: []look{{at: 0, socket: closeWait(0, finWait2, unread(1))}, {at: 50, socket: closeWait(50*time.Second, finWait2, unread(1))}},
			want:  policy.UnreadData, due: 100,
		},
		"one with unacknowledged bytes is spared": {
			looks: []look{{at: 0, socket: closeWait(0, unacked)}, {at: 99, socket: closeWait(0, unacked, segments(50))}},
			want:  policy.UnackedData, due: 100,
		},
		"one that only retransmits is spared no longer than pendingGrace": {
			looks: []look{{at: 0, socket: closeWait(0, unacked)}, {at: 100, socket: closeWait(100*time.Second, unacked, func(s *inetdiag.Socket) {
				s.Retrans, s.Info.SegsOut = 5, 500
			})}},
			want: policy.Destroyable, due: 100,
		},
		"unread bytes under kernel TLS spare for good": {
			looks: []look{{at: 0, socket: closeWait(0, unread(2), tls)}, {at: 3000, socket: closeWait(3000*time.Second, unread(2), tls)}},
			want:  policy.UnreadData,
		},
		"kernel TLS without unread bytes does not": {
			looks: []look{{at: 0, socket: closeWait(0, tls)}, {at: 20, socket: closeWait(20*time.Second, tls)}},
			want:  policy.Destroyable, due: 20,
		},
		"clock state does not heed progress": {
			policy: func(p *policy.Policy) { p.Clock = policy.ClockState },
			looks:  []look{{at: 0, socket: closeWait(0)}, {at: 20, socket: closeWait(0, acked(1))}},
			want:   policy.Destroyable, due: 20,
		},
		"clock state still spares pending data": {
			policy: func(p *policy.Policy) { p.Clock = policy.ClockState },
			looks:  []look{{at: 0, socket: closeWait(0, unread(9))}, {at: 20, socket: closeWait(0, unread(9), segments(11))}},
			want:   policy.UnreadData, due: 100,
		},
		"clock state counts the age that the kernel proves": {
			policy: func(p *policy.Policy) { p.Clock = policy.ClockState },
			looks:  []look{{at: 0, socket: closeWait(lastAckOld)}},
			want:   policy.Destroyable, due: -10,
		},
		"an orphan FIN_WAIT2 is the kernel's business": {
			looks: []look{{at: 0, socket: closeWait(lastAckOld, finWait2, unowned)}, {at: 99, socket: closeWait(2*time.Minute, finWait2, unowned)}},
			want:  policy.Orphan,
		},
		"a CLOSE_WAIT in an accept queue is spared": {
			looks: []look{{at: 0, socket: closeWait(0, unowned)}, {at: 99, socket: closeWait(99*time.Second, unowned)}},
			want:  policy.NotAccepted,
		},
		"the time of one that was accepted late begins when it was first seen owned": {
			looks: []look{{at: 0, socket: closeWait(0, unowned)}, {at: 99, socket: closeWait(99 * time.Second)}, {at: 118, socket: closeWait(118 * time.Second)}},
			want:  policy.WithinGrace, due: 119,
		},
		"an MPTCP subflow is spared": {
			looks: []look{{at: 0, socket: closeWait(lastAckOld, mptcp)}, {at: 99, socket: closeWait(2*time.Minute, mptcp)}}, want: policy.MPTCP,
		},
		"ESTABLISHED is not half-closed": {
			looks: []look{{at: 0, socket: closeWait(lastAckOld, state(inetdiag.Established))}}, want: policy.NotHalfClosed,
		},
		"LAST_ACK is not half-closed": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 99, socket: closeWait(0, state(inetdiag.LastAck))}}, want: policy.NotHalfClosed,
		},
		"a socket without tcp_info is spared": {
			looks: []look{{at: 0, socket: closeWait(0, func(s *inetdiag.Socket) { s.HasInfo = false })}}, want: policy.Unknown,
		},
		"an exempt one is spared": {
			policy: func(p *policy.Policy) { p.Exempt = []policy.Match{{LocalPorts: ports("8080")}} },
			looks:  idle(99), want: policy.Exempted,
		},
		"an exemption comes before a rule": {
			policy: func(p *policy.Policy) {
				p.Exempt, p.Rules = []policy.Match{{LocalPorts: ports("8080")}}, []policy.Rule{rule(client, grace(1))}
			},
			looks: idle(99), facts: role(policy.RoleClient), want: policy.Exempted,
		},
		"a grace of never is one": {
			policy: func(p *policy.Policy) { p.CloseWaitGrace = policy.Never }, looks: idle(3000), want: policy.GraceNever,
		},
		"a grace that was never set is never": {
			policy: func(p *policy.Policy) { p.CloseWaitGrace = 0 }, looks: idle(3000), want: policy.GraceNever,
		},
		"mode off destroys nothing": {
			policy: func(p *policy.Policy) { p.Mode = policy.Off }, looks: idle(99), want: policy.ModeOff,
		},
		"a mode that was never set destroys nothing": {
			policy: func(p *policy.Policy) { p.Mode = 0 }, looks: idle(99), want: policy.ModeOff,
		},
		"mode observe would destroy": {
			policy: func(p *policy.Policy) { p.Mode = policy.Observe }, looks: idle(99), want: policy.WouldDestroy, due: 20.5,
		},

		"a peer is not asked before its time": {
			policy: func(p *policy.Policy) { p.ProbeAfter = 5 * second }, looks: idle(5.4), want: policy.WithinGrace, due: 20.5,
		},
		"a peer is asked after probeAfter": {
			policy: func(p *policy.Policy) { p.ProbeAfter = 5 * second }, looks: idle(5.6), want: policy.AskingPeer, due: 20.5,
		},
		"in mode observe it would be": {
			policy: func(p *policy.Policy) { p.ProbeAfter, p.Mode = 5*second, policy.Observe }, looks: idle(5.6), want: policy.WouldAsk, due: 20.5,
		},
		"a peer that has answered is not asked again before three times probeAfter": {
			policy: func(p *policy.Policy) { p.ProbeAfter = 5 * second }, looks: idle(15.4), change: answered(1, 5.7),
			want: policy.PeerAlive, due: 20.5,
		},
		"but then": {
			policy: func(p *policy.Policy) { p.ProbeAfter = 5 * second }, looks: idle(15.6), change: answered(1, 5.7),
			want: policy.AskingPeer, due: 20.5,
		},
		"questions that were held up do not follow each other closely": {
			policy: func(p *policy.Policy) { p.ProbeAfter = 5 * second }, looks: idle(15.6), change: answered(1, 15),
			want: policy.PeerAlive, due: 20.5,
		},
		"past its grace it is destroyed rather than asked": {
			policy: func(p *policy.Policy) { p.ProbeAfter = 5 * second }, looks: idle(20.6), want: policy.Destroyable, due: 20.5,
		},
		"with a grace of never its peer is still asked": {
			policy: func(p *policy.Policy) { p.CloseWaitGrace, p.ProbeAfter = policy.Never, 5*second }, looks: idle(5.6), want: policy.AskingPeer,
		},
		"unread bytes do not hold back the question": {
			policy: func(p *policy.Policy) { p.ProbeAfter = 5 * second },
			looks:  []look{{at: 0, socket: closeWait(0, unread(9))}, {at: 6, socket: closeWait(6*time.Second, unread(9))}},
			want:   policy.AskingPeer, due: 100,
		},
		"unread bytes under kernel TLS do": {
			policy: func(p *policy.Policy) { p.ProbeAfter = 5 * second },
			looks:  []look{{at: 0, socket: closeWait(0, unread(9), tls)}, {at: 6, socket: closeWait(6*time.Second, unread(9), tls)}},
			want:   policy.WithinGrace,
		},
		"unacknowledged bytes hold back the question": {
			policy: func(p *policy.Policy) { p.ProbeAfter = 5 * second },
			looks:  []look{{at: 0, socket: closeWait(0, unacked)}, {at: 6, socket: closeWait(6*time.Second, unacked)}},
			want:   policy.WithinGrace, due: 100,
		},
		"progress starts the questions again": {
			policy: func(p *policy.Policy) { p.ProbeAfter = 5 * second },
			looks:  []look{{at: 0, socket: closeWait(0)}, {at: 10, socket: closeWait(0, acked(1))}, {at: 15.1, socket: closeWait(5100*time.Millisecond, acked(1))}},
			want:   policy.AskingPeer, due: 30,
		},

		"the first rule that matches counts": {
			policy: rules(rule(client, grace(5)), rule(policy.Match{LocalPorts: ports("8080")}, grace(7))), facts: role(policy.RoleClient),
			looks: idle(6), want: policy.Destroyable, due: 5.5,
		},
		"a rule that does not match does not": {
			policy: rules(rule(server, grace(5)), rule(policy.Match{LocalPorts: ports("8080")}, grace(7))), facts: role(policy.RoleClient),
			looks: idle(6), want: policy.WithinGrace, due: 7.5,
		},
		"a rule gives what it names and the base the rest": {
			policy: func(p *policy.Policy) {
				p.ProbeAfter, p.Rules = 3*second, []policy.Rule{rule(client, policy.Values{Grace: new(policy.Never)})}
			},
			facts: role(policy.RoleClient), looks: idle(4), want: policy.AskingPeer,
		},
		"a rule's grace hides the base's for the state": {
			policy: rules(rule(client, grace(5))), facts: role(policy.RoleClient), looks: idle(6), want: policy.Destroyable, due: 5.5,
		},
		"a rule's own for the state beats its grace": {
			policy: rules(rule(client, policy.Values{Grace: new(5 * second), CloseWaitGrace: new(9 * second), FinWait2Grace: new(second)})),
			facts:  role(policy.RoleClient), looks: idle(6), want: policy.WithinGrace, due: 9.5,
		},
		"a rule with the other state's leaves the base's": {
			policy: rules(rule(client, policy.Values{FinWait2Grace: new(second)})), facts: role(policy.RoleClient), looks: idle(6),
			want: policy.WithinGrace, due: 20.5,
		},
		"a rule's mode beats the base's": {
			policy: func(p *policy.Policy) {
				p.Mode, p.Rules = policy.Off, []policy.Rule{rule(client, policy.Values{Mode: new(policy.Destroy)})}
			},
			facts: role(policy.RoleClient), looks: idle(99), want: policy.Destroyable, due: 20.5,
		},
		"a rule's clock beats the base's": {
			policy: rules(rule(client, policy.Values{Clock: new(policy.ClockState)})), facts: role(policy.RoleClient),
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 20, socket: closeWait(0, acked(1))}}, want: policy.Destroyable, due: 20,
		},
		"a rule's pendingGrace beats the base's": {
			policy: rules(rule(client, policy.Values{PendingGrace: new(30 * second)})), facts: role(policy.RoleClient),
			looks: []look{{at: 0, socket: closeWait(0, unread(9))}, {at: 30, socket: closeWait(30*time.Second, unread(9))}}, want: policy.Destroyable, due: 30,
		},
		"a rule of one state is not for the other": {
			policy: rules(rule(policy.Match{State: inetdiag.FinWait2}, grace(1))), looks: idle(6), want: policy.WithinGrace, due: 20.5,
		},
		"a rule of uids": {
			policy: rules(rule(policy.Match{UIDs: []policy.UIDRange{{0, 999}, {1000, 1000}}}, grace(1))),
			looks:  []look{{at: 0, socket: closeWait(0, uid(1000))}, {at: 2, socket: closeWait(2*time.Second, uid(1000))}}, want: policy.Destroyable, due: 1,
		},
		"a rule of other uids": {
			policy: rules(rule(policy.Match{UIDs: []policy.UIDRange{{0, 999}, {1001, 1002}}}, grace(1))),
			looks:  []look{{at: 0, socket: closeWait(0, uid(1000))}, {at: 2, socket: closeWait(2*time.Second, uid(1000))}}, want: policy.WithinGrace, due: 20,
		},

		"a shorter rule for an unknown role shortens nothing": {
			policy: rules(rule(client, grace(1))), looks: idle(6), want: policy.WithinGrace, due: 20.5,
		},
		"a longer rule for an unknown role lengthens": {
			policy: rules(rule(server, grace(30))), looks: idle(21), want: policy.WithinGrace, due: 30.5,
		},
		"the longest that may match counts": {
			policy: rules(rule(server, grace(30)), rule(client, policy.Values{Grace: new(policy.Never)})), looks: idle(99), want: policy.GraceNever,
		},
		"an exemption for an unknown role exempts": {
			policy: func(p *policy.Policy) { p.Exempt = []policy.Match{server} }, looks: idle(99), want: policy.Exempted,
		},
		"the role of the history counts where the facts have none": {
			policy: rules(rule(server, grace(30))), looks: idle(21), change: func(h *policy.History) { h.Role = policy.RoleClient },
			want: policy.Destroyable, due: 20.5,
		},

		"a process keeps its sockets": {
			policy: rules(rule(command("keep"), policy.Values{Mode: new(policy.Off)})), facts: facts(by("keep")), looks: idle(99), want: policy.ModeOff,
		},
		"another's go": {
			policy: rules(rule(command("keep"), policy.Values{Mode: new(policy.Off)})), facts: facts(by("srv")), looks: idle(99),
			want: policy.Destroyable, due: 20.5,
		},
		"the first fifteen bytes of a command count": {
			policy: rules(rule(command("fifteen-bytes-and-more"), policy.Values{Mode: new(policy.Off)})), facts: facts(by("fifteen-bytes-a")),
			looks: idle(99), want: policy.ModeOff,
		},
		"the fifteenth byte does": {
			policy: rules(rule(command("fifteen-bytes-and-more"), policy.Values{Mode: new(policy.Off)})), facts: facts(by("fifteen-bytes-b")),
			looks: idle(99), want: policy.Destroyable, due: 20.5,
		},
		"of several owners the one that keeps counts": {
			policy: rules(rule(command("keep"), policy.Values{Mode: new(policy.Off)})), facts: &twoOwners, looks: idle(99), want: policy.ModeOff,
		},
		"a rule that shortens has to match each of several owners": {
			policy: rules(rule(command("keep"), grace(1))), facts: &twoOwners, looks: idle(6), want: policy.WithinGrace, due: 20.5,
		},
		"an owner that was looked for and not found spares": {
			policy: rules(rule(command("keep"), policy.Values{Mode: new(policy.Off)})), facts: facts(by()), looks: idle(99),
			want: policy.OwnerUnknown, due: 20.5,
		},
		"but not before its grace is over": {
			policy: rules(rule(command("keep"), policy.Values{Mode: new(policy.Off)})), facts: facts(by()), looks: idle(9),
			want: policy.WithinGrace, due: 20.5,
		},
		"nor where no rule asks for one": {
			facts: facts(by()), looks: idle(99), want: policy.Destroyable, due: 20.5,
		},
		"an exemption that asks for one spares as well": {
			policy: func(p *policy.Policy) { p.Exempt = []policy.Match{command("keep")} }, facts: facts(by()), looks: idle(99),
			want: policy.OwnerUnknown, due: 20.5,
		},
		"an unknown owner that may shorten spares until the base's grace": {
			policy: rules(rule(command("leaky"), grace(1))), facts: facts(by()), looks: idle(6), want: policy.OwnerUnknown, due: 1.5,
		},
		"and no longer": {
			policy: rules(rule(command("leaky"), grace(1))), facts: facts(by()), looks: idle(20.6), want: policy.Destroyable, due: 1.5,
		},
		"owners are not looked for before something is due": {
			policy: rules(rule(command("keep"), policy.Values{Mode: new(policy.Off)})), facts: &policy.Facts{}, looks: idle(9),
			want: policy.WithinGrace, due: 20.5,
		},
		"owners are looked for when it is": {
			policy: rules(rule(command("keep"), policy.Values{Mode: new(policy.Off)})), facts: &policy.Facts{}, looks: idle(21),
			want: policy.OwnerUnknown, due: 20.5, needs: true,
		},
		"even where no rule asks for them, since they may be frozen": {
			facts: &policy.Facts{}, looks: idle(21), want: policy.Destroyable, due: 20.5, needs: true,
		},
		"and before a question": {
			policy: func(p *policy.Policy) { p.ProbeAfter = second }, facts: &policy.Facts{}, looks: idle(2), want: policy.AskingPeer, due: 20.5, needs: true,
		},
		"not where knowing them would change nothing": {
			policy: rules(rule(command("leaky"), grace(19))), facts: &policy.Facts{}, looks: idle(18), want: policy.WithinGrace, due: 19.5,
		},
		"not where the role alone spares": {
			policy: rules(rule(policy.Match{Role: policy.RoleServer}, policy.Values{Grace: new(policy.Never)}), rule(command("leaky"), grace(1))),
			facts:  &policy.Facts{}, looks: idle(99), want: policy.GraceNever,
		},
		"a rule by role and command shortens nothing while both are unknown": {
			policy: rules(rule(policy.Match{Role: policy.RoleClient, Commands: []string{"leaky"}}, grace(1))),
			facts:  &policy.Facts{}, looks: idle(6), want: policy.WithinGrace, due: 20.5,
		},
		"a frozen owner spares": {
			facts: &policy.Facts{OwnersKnown: true, OwnersComplete: true, Owners: []policy.Owner{{Frozen: true}, {Frozen: true}}}, looks: idle(99), want: policy.OwnerFrozen,
		},
		"one that is not frozen is enough": {
			facts: &policy.Facts{OwnersKnown: true, OwnersComplete: true, Owners: []policy.Owner{{Frozen: true}, {}}}, looks: idle(99), want: policy.Destroyable, due: 20.5,
		},
		"no process holds it, as a look at all of them shows": {
			facts: &policy.Facts{OwnersKnown: true, OwnersComplete: true}, looks: idle(99), want: policy.Destroyable, due: 20.5,
		},
		"an owner that was not found counts as running": {
			facts: &policy.Facts{OwnersKnown: true}, looks: idle(99), want: policy.Destroyable, due: 20.5,
		},
		"and its peer is asked": {
			policy: func(p *policy.Policy) { p.ProbeAfter = second }, facts: &policy.Facts{OwnersKnown: true}, looks: idle(2), want: policy.AskingPeer, due: 20.5,
		},
		"unless a rule may name it": {
			policy: rules(rule(command("keep"), policy.Values{Mode: new(policy.Off)})),
			facts:  &policy.Facts{OwnersKnown: true}, looks: idle(99), want: policy.OwnerUnknown, due: 20.5,
		},
		"before its time that makes no difference": {
			facts: &policy.Facts{OwnersKnown: true}, looks: idle(18), want: policy.WithinGrace, due: 20.5,
		},
		"an owner that runs is enough, whatever others there are": {
			facts: &policy.Facts{OwnersKnown: true, Owners: []policy.Owner{{}}}, looks: idle(99), want: policy.Destroyable, due: 20.5,
		},
		"unless a rule may name another one": {
			policy: rules(rule(command("keep"), policy.Values{Mode: new(policy.Off)})),
			facts:  &policy.Facts{OwnersKnown: true, Owners: []policy.Owner{{Command: "python3"}}}, looks: idle(99), want: policy.OwnerUnknown, due: 20.5,
		},
		"which there is not if all are known": {
			policy: rules(rule(command("keep"), policy.Values{Mode: new(policy.Off)})),
			facts:  &policy.Facts{OwnersKnown: true, OwnersComplete: true, Owners: []policy.Owner{{Command: "python3"}}}, looks: idle(99),
			want: policy.Destroyable, due: 20.5,
		},
		"frozen time does not count": {
			looks: idle(99), change: func(h *policy.History) { h.AddFrozen(80 * time.Second) }, want: policy.WithinGrace, due: 100.5,
		},
		"nor by clock state": {
			policy: func(p *policy.Policy) { p.Clock = policy.ClockState }, looks: idle(99),
			change: func(h *policy.History) { h.AddFrozen(80 * time.Second) }, want: policy.WithinGrace, due: 100.5,
		},

		"fewer bytes received under the same cookie are a new connection": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, func(s *inetdiag.Socket) { s.Info.BytesReceived = 3 })}},
			want:  policy.WithinGrace, due: 45,
		},
		"fewer bytes received in FIN_WAIT2 are a new connection": {
			policy: func(p *policy.Policy) { p.Clock = policy.ClockState },
			looks: []look{{at: 0, socket: closeWait(0, finWait2)}, {at: 45, socket: closeWait(time.Second, finWait2, segments(11), func(s *inetdiag.Socket) {
				s.Info.BytesReceived = 3
			})}},
			want: policy.WithinGrace, due: 84,
		},
		"fewer bytes acknowledged are a new connection": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, func(s *inetdiag.Socket) { s.Info.BytesAcked = 1 })}},
			want:  policy.WithinGrace, due: 45,
		},
		"another peer under the same cookie is a new connection": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, segments(11), func(s *inetdiag.Socket) {
				s.ID = inetdiag.NewID(unix.AF_INET, id.Local(), netip.MustParseAddrPort("10.0.0.3:5000"), 0, id.Cookie())
			})}},
			want: policy.WithinGrace, due: 45,
		},
		"the other half-closed state under the same cookie is a new connection": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, segments(11), finWait2)}},
			want:  policy.WithinGrace, due: 65,
		},
		"more bytes received than before a FIN are a new connection": {
			policy: func(p *policy.Policy) { p.Clock = policy.ClockState },
			looks:  []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, received(7))}},
			want:   policy.WithinGrace, due: 44,
		},
		"more bytes acknowledged than our FIN are a new connection": {
			policy: func(p *policy.Policy) { p.Clock = policy.ClockState },
			looks:  []look{{at: 0, socket: closeWait(0, finWait2)}, {at: 45, socket: closeWait(time.Second, finWait2, acked(7))}},
			want:   policy.WithinGrace, due: 84,
		},
		"a connection made after the earlier look is a new one, though it moved the same bytes": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, segments(11), func(s *inetdiag.Socket) {
				s.Info.LastDataRecv = 2 * time.Second
			})}},
			want: policy.WithinGrace, due: 45,
		},
		"one that is seen half-closing after the earlier look is a new one": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, entered: 24, socket: closeWait(time.Second, segments(11))}},
			want:  policy.WithinGrace, due: 44,
		},
		"a time of entry that is known later counts for clock state alone": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 15, entered: -5, socket: closeWait(0, segments(11))}},
			want:  policy.WithinGrace, due: 20,
		},
		"an acknowledgement that came with no segment more is a new connection": {
			looks: []look{{at: 0, socket: closeWait(time.Second)}, {at: 25, socket: closeWait(time.Second)}},
			want:  policy.WithinGrace, due: 45,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPolicy()
			if tc.policy != nil {
				tc.policy(&p)
			}
			h := follow(tc.looks)
			if tc.change != nil {
				tc.change(&h)
			}
			f := owned
			if tc.facts != nil {
				f = *tc.facts
			}
			last := tc.looks[len(tc.looks)-1]
			policies := []policy.Policy{p}
			v := policy.Judge(policies, &h, last.socket, f, at(last.at))
			if v.Reason != tc.want {
				t.Fatalf("got %v (%s), want %v", v.Reason, policy.Explain(&v, policies, &h, last.socket, at(last.at)), tc.want)
			}
			want := monotime.Time(0)
			if tc.due != 0 {
				want = at(tc.due)
			}
			if v.Deadline != want {
				t.Errorf("deadline is %v after the beginning, want %v", v.Deadline.Sub(at(0)), want.Sub(at(0)))
			}
			if got := v.Destroy(); got != (tc.want == policy.Destroyable && !tc.needs) {
				t.Errorf("destroy is %v", got)
			}
			if v.Ask != (tc.want == policy.AskingPeer && !tc.needs) || v.NeedsOwners != tc.needs {
				t.Errorf("ask is %v, needs owners is %v", v.Ask, v.NeedsOwners)
			}
			if !v.Again.IsZero() && !at(last.at).Before(v.Again) {
				t.Errorf("the next look is at %v, which is over", v.Again.Sub(at(0)))
			}
			if policy.Explain(&v, policies, &h, last.socket, at(last.at)) == "" {
				t.Error("no explanation")
			}
		})
	}
}

// testPolicy destroys, with a grace of 20 s for CLOSE_WAIT and 40 s for FIN_WAIT2 and a pendingGrace of 100 s; no peer is asked.
func testPolicy() policy.Policy {
	p := policy.Default()
	p.CloseWaitGrace, p.FinWait2Grace, p.PendingGrace, p.ProbeAfter = 20*second, 40*second, 100*second, policy.Never
	return p
}

// answered adds a number of questions to the history, and an answer at that time.
func answered(asks int, seconds float64) func(*policy.History) {
	return func(h *policy.History) {
		for range asks {
			h.AddQuestion(at(seconds))
		}
		h.PeerAlive = at(seconds)
	}
}

func TestJudgeWithoutAPolicyIsNotRegistered(t *testing.T) {
	s := closeWait(time.Hour)
	h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
	if v := policy.Judge(nil, &h, s, policy.Facts{OwnersKnown: true, OwnersComplete: true}, at(99999)); v.Reason != policy.NotRegistered || v.Destroy() || v.Act != policy.Off {
		t.Errorf("%v, act %v", v.Reason, v.Act)
	}
}

func TestQuestionsAreAskedAtDoublingGapsOfAnHourAtMost(t *testing.T) {
	for name, tt := range map[string]struct {
		probeAfter policy.Patience
		want       []time.Duration // since the start of the idle time
	}{
		"90s": {90 * second, []time.Duration{
			90 * time.Second, 270 * time.Second, 630 * time.Second, 1350 * time.Second, 2790 * time.Second, 5670 * time.Second,
			5670*time.Second + time.Hour, 5670*time.Second + 2*time.Hour,
		}},
		"more than an hour": {90 * minute, []time.Duration{90 * time.Minute, 180 * time.Minute, 270 * time.Minute}},
		"never":             {policy.Never, []time.Duration{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPolicy()
			p.CloseWaitGrace, p.ProbeAfter = policy.Never, tt.probeAfter
			s := closeWait(0)
			h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
			for i, want := range tt.want {
				v := policy.Judge([]policy.Policy{p}, &h, s, policy.Facts{}, at(1))
				if got := v.AskAt; got != at(0).Add(want) && (want != 0 || got != policy.Forever) {
					t.Errorf("question %d after %v, want %v", i+1, got.Sub(at(0)), want)
				}
				h.AddQuestion(min(v.AskAt, at(1e6)))
			}
		})
	}
}

func TestQuestionsStayRareAfterTheCountSaturates(t *testing.T) {
	for name, tt := range map[string]struct {
		clock    policy.Clock
		progress time.Duration // interval at which a byte moves, 0 for never
		lasts    time.Duration
		want     int
	}{
		"idle for twenty days: each hour in the end":          {policy.ClockProgress, 0, 480 * time.Hour, 487},
		"the state clock does not begin again with each byte": {policy.ClockState, 5 * time.Second, 10 * time.Minute, 5},
		"the progress clock does, and is never over":          {policy.ClockProgress, 5 * time.Second, 10 * time.Minute, 0},
		"it asks once between bytes that are far apart":       {policy.ClockProgress, 25 * time.Second, 10 * time.Minute, 24},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPolicy()
			p.CloseWaitGrace, p.ProbeAfter, p.Clock = policy.Never, 10*second, tt.clock
			s := closeWait(0)
			h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
			asked := 0
			for now := at(0); now < at(0).Add(tt.lasts); now = now.Add(5 * time.Second) {
				if tt.progress > 0 && now > at(0) && now.Sub(at(0))%tt.progress == 0 {
					s.Info.BytesAcked++
				}
				s.Info.LastAckRecv, s.Info.SegsIn = 0, s.Info.SegsIn+1
				h = policy.Follow(&h, policy.Look{At: now, Socket: s})
				v := policy.Judge([]policy.Policy{p}, &h, s, policy.Facts{OwnersKnown: true, Owners: []policy.Owner{{}}}, now)
				if v.Ask {
					h.AddQuestion(now)
					asked++
				}
			}
			if asked != tt.want {
				t.Errorf("asked %d times, want %d", asked, tt.want)
			}
		})
	}
}

func TestQuestionsNeverOverflow(t *testing.T) {
	p := testPolicy()
	p.ProbeAfter = policy.Never - 1
	s := closeWait(0)
	h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
	for range 300 {
		if v := policy.Judge([]policy.Policy{p}, &h, s, policy.Facts{}, at(1)); v.AskAt != policy.Forever {
			t.Fatalf("after %d questions asked at %d", h.Asks, v.AskAt)
		}
		h.AddQuestion(at(1))
	}
	if h.Asks != 255 {
		t.Errorf("%d questions are counted", h.Asks)
	}
}

func TestCapped(t *testing.T) {
	s := closeWait(0)
	h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
	f := policy.Facts{OwnersKnown: true, OwnersComplete: true, Owners: []policy.Owner{{}}}
	p := testPolicy()
	p.ProbeAfter = 5 * second
	for name, tt := range map[string]struct {
		now  float64
		mode policy.Mode
		want policy.Reason
		ask  bool
	}{
		"destroy leaves a destroy":              {21, policy.Destroy, policy.Destroyable, false},
		"observe makes it one that would be":    {21, policy.Observe, policy.WouldDestroy, false},
		"off leaves it alone":                   {21, policy.Off, policy.ModeOff, false},
		"a mode that was never set does too":    {21, 0, policy.ModeOff, false},
		"destroy leaves a question":             {6, policy.Destroy, policy.AskingPeer, true},
		"observe makes one that would be asked": {6, policy.Observe, policy.WouldAsk, false},
		"observe leaves any other reason":       {1, policy.Observe, policy.WithinGrace, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := policy.Judge([]policy.Policy{p}, &h, s, f, at(tt.now)).Capped(tt.mode)
			if v.Reason != tt.want || v.Ask != tt.ask || v.Destroy() != (tt.want == policy.Destroyable) {
				t.Errorf("%v, ask %v, destroy %v", v.Reason, v.Ask, v.Destroy())
			}
			if off := tt.want == policy.ModeOff; off != (v.AskAt == policy.Forever) || off != (v.EndAt == policy.Forever) {
				t.Errorf("asked from %d, destroyed from %d", v.AskAt, v.EndAt)
			}
			if (tt.mode == policy.Destroy) != (v.Standing == policy.StandingNone) {
				t.Errorf("its other end is spared: %v", v.Standing)
			}
			if text := policy.Explain(&v, []policy.Policy{p}, &h, s, at(tt.now)); tt.want == policy.ModeOff && text != "the mode is off" {
				t.Errorf("explained as %q", text)
			}
		})
	}
	orphan := closeWait(0, finWait2, func(s *inetdiag.Socket) { s.Inode = 0 })
	if v := policy.Judge([]policy.Policy{p}, &h, orphan, f, at(99)).Capped(policy.Off); v.Reason != policy.Orphan {
		t.Errorf("an orphan is reported as %v", v.Reason)
	}
}

func TestKernelTLSSparesOnlySocketsWithUnreadBytes(t *testing.T) {
	p := testPolicy()
	p.ProbeAfter = 5 * second
	for name, tt := range map[string]struct {
		ulp    string
		rqueue uint32 // with the FIN
		spared bool
	}{
		"kernel TLS with bytes to read":       {"tls", 2, true},
		"kernel TLS with nothing to read":     {"tls", 1, false},
		"without kernel TLS, bytes to read":   {"", 2, false},
		"another protocol with bytes to read": {"espintcp", 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := closeWait(0, func(s *inetdiag.Socket) { s.ULP, s.RQueue = tt.ulp, tt.rqueue })
			h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
			v := policy.Judge([]policy.Policy{p}, &h, s, policy.Facts{}, at(1))
			if (v.AskAt == policy.Forever) != tt.spared || (v.EndAt == policy.Forever) != tt.spared {
				t.Errorf("asked from %d, destroyed from %d", v.AskAt, v.EndAt)
			}
		})
	}
}

func TestSocketOfAFrozenOwnerIsLookedAtAgain(t *testing.T) {
	s := closeWait(0)
	h := policy.Follow(nil, policy.Look{At: at(0), Socket: s})
	f := policy.Facts{OwnersKnown: true, Owners: []policy.Owner{{Frozen: true}}}
	v := policy.Judge([]policy.Policy{testPolicy()}, &h, s, f, at(8))
	if v.Reason != policy.OwnerFrozen || v.Again != at(10) {
		t.Errorf("%v, again after %v, want after 10 s", v.Reason, v.Again.Sub(at(0)))
	}
}

func TestVerdictHasTheParametersOfTheQuestion(t *testing.T) {
	a, b := testPolicy(), testPolicy()
	a.ProbeAfter, a.ProbeCount, a.ProbeInterval = 5*second, 3, 20*time.Second
	b.ProbeAfter, b.ProbeCount, b.ProbeInterval = 7*second, 9, time.Second
	client := policy.Match{Role: policy.RoleClient}
	a.Rules = []policy.Rule{{Match: client, Values: policy.Values{AskSigpipe: new(true)}}}
	s := closeWait(0)
	h := policy.Follow(nil, policy.Look{At: at(0), Socket: s, Role: policy.RoleClient})
	v := policy.Judge([]policy.Policy{a}, &h, s, policy.Facts{}, at(1))
	if v.ProbeAfter != 5*time.Second || v.ProbeCount != 3 || v.ProbeInterval != 20*time.Second || !v.AskSigpipe {
		t.Errorf("one policy: %v, %d times each %v, sigpipe %v", v.ProbeAfter, v.ProbeCount, v.ProbeInterval, v.AskSigpipe)
	}
	v = policy.Judge([]policy.Policy{a, b}, &h, s, policy.Facts{}, at(1))
	if v.ProbeAfter != 7*time.Second || v.ProbeCount != 9 || v.ProbeInterval != 20*time.Second || v.AskSigpipe {
		t.Errorf("two policies: %v, %d times each %v, sigpipe %v", v.ProbeAfter, v.ProbeCount, v.ProbeInterval, v.AskSigpipe)
	}
}

func ports(text string) policy.Ports {
	var p policy.Ports
	if err := p.UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	return p
}

// TestReadingOwnerIsNoticed checks when a socket needs a second look, with a grace of 20 s in CLOSE_WAIT and 40 s in
// FIN_WAIT2.
func TestReadingOwnerIsNoticed(t *testing.T) {
	unread := func(s *inetdiag.Socket) { s.RQueue = 3 }
	entry := func(s *inetdiag.Socket) look { return look{at: 1, entered: 1, socket: s} }
	for name, tc := range map[string]struct {
		policy func(*policy.Policy)
		looks  []look
		next   float64
	}{
		"nothing to read":                 {looks: []look{entry(closeWait(0))}, next: 21},
		"bytes to read":                   {looks: []look{entry(closeWait(0, unread))}, next: 6},
		"a peer that may go on":           {looks: []look{entry(closeWait(0, finWait2))}, next: 11},
		"looked at once more":             {looks: []look{entry(closeWait(0, unread)), {at: 6, socket: closeWait(5*time.Second, unread)}}, next: 101},
		"not seen becoming half-closed":   {looks: []look{{at: 1, socket: closeWait(0, unread)}}, next: 6},
		"with what it was then, as a FIN": {looks: []look{entry(closeWait(0, func(s *inetdiag.Socket) { s.RQueue = 1 }))}, next: 21},
		"a question before": {
			policy: func(p *policy.Policy) { p.ProbeAfter = 4 * second }, looks: []look{entry(closeWait(0, unread))}, next: 2,
		},
		"a question": {policy: func(p *policy.Policy) { p.ProbeAfter = 4 * second }, looks: []look{entry(closeWait(0))}, next: 5},
		"past its grace with bytes to read": {
			looks: []look{entry(closeWait(0, unread)), {at: 41, socket: closeWait(40*time.Second, unread)}}, next: 51,
		},
		"mode off": {policy: func(p *policy.Policy) { p.Mode = policy.Off }, looks: []look{entry(closeWait(0, unread))}, next: 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPolicy()
			if tc.policy != nil {
				tc.policy(&p)
			}
			h := follow(tc.looks)
			last := tc.looks[len(tc.looks)-1]
			want := monotime.Time(0)
			if tc.next != 0 {
				want = at(tc.next)
			}
			if v := policy.Judge([]policy.Policy{p}, &h, last.socket, policy.Facts{OwnersKnown: true, OwnersComplete: true}, at(last.at)); v.Again != want {
				t.Errorf("%v, next after %v, want after %v s", v.Reason, v.Again.Sub(at(0)), tc.next)
			}
		})
	}
}

// follow returns the history of a series of looks.
func follow(looks []look) policy.History {
	var h *policy.History
	for _, l := range looks {
		seen := policy.Look{At: at(l.at), Socket: l.socket}
		if l.entered != 0 {
			seen.Entered = at(l.entered)
		}
		next := policy.Follow(h, seen)
		h = &next
	}
	return *h
}
