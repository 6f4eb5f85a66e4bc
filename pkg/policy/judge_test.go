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

// at is a moment so many seconds after the tests' beginning, which is far from boot.
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

	// The policy's grace is 20 s for CLOSE_WAIT and 40 s for FIN_WAIT2 in all of them.
	for name, tc := range map[string]struct {
		policy func(*policy.Policy)
		looks  []look
		now    float64 // 0: the last look
		want   policy.Reason
		due    float64 // the deadline, where there is one
	}{
		"a young one is spared until its grace ends": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 19, socket: closeWait(19 * time.Second)}},
			want:  policy.Young, due: 20,
		},
		"one that nothing spares is destroyed once its grace has ended": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 20, socket: closeWait(20 * time.Second)}},
			want:  policy.Destroyable, due: 20,
		},
		"the age that the last acknowledgement proves counts from the first look on": {
			looks: []look{{at: 0, socket: closeWait(15 * time.Second)}, {at: 5, socket: closeWait(20 * time.Second)}},
			want:  policy.Destroyable, due: 5,
		},
		"one look is not enough, however old it is": {
			looks: []look{{at: 0, socket: closeWait(lastAckOld)}},
			want:  policy.SeenOnce, due: 5,
		},
		"two looks a quarter of the grace apart are": {
			looks: []look{{at: 0, socket: closeWait(lastAckOld)}, {at: 5, socket: closeWait(lastAckOld + 5*time.Second)}},
			want:  policy.Destroyable, due: 5,
		},
		"one that was seen when it half-closed needs no second look before its deadline": {
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
			policy: func(p *policy.Policy) { p.PendingData = policy.PendingDestroy },
			looks:  []look{{at: 0, socket: closeWait(0)}, {at: 19, socket: closeWait(19*time.Second, unacked)}},
			want:   policy.Progressing, due: 39,
		},
		"one that keeps receiving in FIN_WAIT2 makes progress": {
			looks: []look{{at: 0, socket: closeWait(0, finWait2)}, {at: 39, socket: closeWait(0, finWait2, received(5))}, {at: 41, socket: closeWait(2*time.Second, finWait2, received(5))}},
			want:  policy.Progressing, due: 79,
		},
		"FIN_WAIT2 has a grace of its own": {
			looks: []look{{at: 0, socket: closeWait(0, finWait2)}, {at: 39, socket: closeWait(39*time.Second, finWait2)}},
			want:  policy.Young, due: 40,
		},
		"an owner that reads its backlog makes progress": {
			policy: func(p *policy.Policy) { p.PendingData = policy.PendingDestroy },
			looks:  []look{{at: 0, socket: closeWait(0, unread(51))}, {at: 10, socket: closeWait(10*time.Second, unread(31))}, {at: 25, socket: closeWait(25*time.Second, unread(31))}},
			want:   policy.Progressing, due: 30,
		},
		"reading the FIN is no progress": {
			looks: []look{{at: 0, socket: closeWait(0, unread(1))}, {at: 20, socket: closeWait(20*time.Second, unread(0))}},
			want:  policy.Destroyable, due: 20,
		},
		"reading the last byte and the FIN at once is progress": {
			looks: []look{{at: 0, socket: closeWait(0, unread(2))}, {at: 19, socket: closeWait(19*time.Second, unread(0))}, {at: 20, socket: closeWait(20*time.Second, unread(0))}},
			want:  policy.Progressing, due: 39,
		},
		"one with unread bytes is spared": {
			looks: []look{{at: 0, socket: closeWait(0, unread(2))}, {at: 99, socket: closeWait(99*time.Second, unread(2))}},
			want:  policy.UnreadData, due: 20,
		},
		"the FIN alone is no unread byte": {
			looks: []look{{at: 0, socket: closeWait(0, unread(1))}, {at: 20, socket: closeWait(20*time.Second, unread(1))}},
			want:  policy.Destroyable, due: 20,
		},
		"in FIN_WAIT2 a single byte is": {
			looks: []look{{at: 0, socket: closeWait(0, finWait2, unread(1))}, {at: 50, socket: closeWait(50*time.Second, finWait2, unread(1))}},
			want:  policy.UnreadData, due: 40,
		},
		"one with unacknowledged bytes is spared": {
			looks: []look{{at: 0, socket: closeWait(0, unacked)}, {at: 99, socket: closeWait(0, unacked, segments(50))}},
			want:  policy.UnacknowledgedData, due: 20,
		},
		"pendingData destroy lets the deadline of unread bytes stand": {
			policy: func(p *policy.Policy) { p.PendingData = policy.PendingDestroy },
			looks:  []look{{at: 0, socket: closeWait(0, unread(9))}, {at: 20, socket: closeWait(20*time.Second, unread(9))}},
			want:   policy.Destroyable, due: 20,
		},
		"pendingData destroy does not spare one that only retransmits": {
			policy: func(p *policy.Policy) { p.PendingData = policy.PendingDestroy },
			looks: []look{{at: 0, socket: closeWait(0, unacked)}, {at: 20, socket: closeWait(20*time.Second, unacked, func(s *inetdiag.Socket) {
				s.Retrans, s.Info.BytesSent, s.Info.BytesRetrans, s.Info.LastDataSent = 5, 500, 450, time.Second
			})}},
			want: policy.Destroyable, due: 20,
		},
		"clock state does not heed progress": {
			policy: func(p *policy.Policy) { p.Clock = policy.ClockState },
			looks:  []look{{at: 0, socket: closeWait(0)}, {at: 20, socket: closeWait(0, acked(1))}},
			want:   policy.Destroyable, due: 20,
		},
		"clock state still spares pending data": {
			policy: func(p *policy.Policy) { p.Clock = policy.ClockState },
			looks:  []look{{at: 0, socket: closeWait(0, unread(9))}, {at: 20, socket: closeWait(0, unread(9), segments(11))}},
			want:   policy.UnreadData, due: 20,
		},
		"clock state needs one look": {
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
			want:  policy.Young, due: 119,
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
		"an exempt one is spared": {
			policy: func(p *policy.Policy) { p.Exempt = []policy.Exemption{{LocalPorts: ports("8080")}} },
			looks:  []look{{at: 0, socket: closeWait(0)}, {at: 99, socket: closeWait(99 * time.Second)}}, want: policy.Exempted,
		},
		"a grace of never is one": {
			policy: func(p *policy.Policy) { p.CloseWaitGrace = policy.Never },
			looks:  []look{{at: 0, socket: closeWait(0)}, {at: 9999, socket: closeWait(9999 * time.Second)}}, want: policy.GraceNever,
		},
		"mode off destroys nothing": {
			policy: func(p *policy.Policy) { p.Mode = policy.Off },
			looks:  []look{{at: 0, socket: closeWait(0)}, {at: 99, socket: closeWait(99 * time.Second)}}, want: policy.ModeOff,
		},
		"a mode that was never set destroys nothing": {
			policy: func(p *policy.Policy) { p.Mode = 0 },
			looks:  []look{{at: 0, socket: closeWait(0)}, {at: 99, socket: closeWait(99 * time.Second)}}, want: policy.ModeOff,
		},
		"one that the kernel says too little of is spared": {
			looks: []look{{at: 0, socket: closeWait(0, func(s *inetdiag.Socket) { s.HasInfo = false })}}, want: policy.Unknown,
		},
		"fewer bytes received under the same cookie are a new connection": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, func(s *inetdiag.Socket) { s.Info.BytesReceived = 3 })}},
			want:  policy.Young, due: 44,
		},
		"fewer bytes acknowledged are a new connection": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, func(s *inetdiag.Socket) { s.Info.BytesAcked = 1 })}},
			want:  policy.Young, due: 44,
		},
		"another peer under the same cookie is a new connection": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, func(s *inetdiag.Socket) {
				s.ID = inetdiag.NewID(unix.AF_INET, id.Local(), netip.MustParseAddrPort("10.0.0.3:5000"), 0, id.Cookie())
			})}},
			want: policy.Young, due: 44,
		},
		"the other half-closed state under the same cookie is a new connection": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, finWait2)}},
			want:  policy.Young, due: 64,
		},
		"more bytes received than before a FIN are a new connection": {
			policy: func(p *policy.Policy) { p.Clock = policy.ClockState },
			looks:  []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, received(7))}},
			want:   policy.Young, due: 44,
		},
		"more bytes acknowledged than our FIN are a new connection": {
			policy: func(p *policy.Policy) { p.Clock = policy.ClockState },
			looks:  []look{{at: 0, socket: closeWait(0, finWait2)}, {at: 45, socket: closeWait(time.Second, finWait2, acked(7))}},
			want:   policy.Young, due: 84,
		},
		"a connection made after the earlier look is a new one, though it moved the same bytes": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, socket: closeWait(time.Second, segments(11), func(s *inetdiag.Socket) {
				s.Info.LastDataRecv = 2 * time.Second
			})}},
			want: policy.Young, due: 44,
		},
		"one that is seen half-closing after the earlier look is a new one": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 25, entered: 24, socket: closeWait(time.Second, segments(11))}},
			want:  policy.Young, due: 44,
		},
		"a time of entry that is known later counts": {
			looks: []look{{at: 0, socket: closeWait(0)}, {at: 15, entered: -5, socket: closeWait(0, segments(11))}},
			want:  policy.Destroyable, due: 15,
		},
		"an acknowledgement that came with no segment more is a new connection": {
			looks: []look{{at: 0, socket: closeWait(time.Second)}, {at: 25, socket: closeWait(time.Second)}},
			want:  policy.Young, due: 44,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy.Default()
			p.CloseWaitGrace, p.FinWait2Grace = policy.Grace(20*time.Second), policy.Grace(40*time.Second)
			if tc.policy != nil {
				tc.policy(&p)
			}
			h := follow(tc.looks)
			last := tc.looks[len(tc.looks)-1]
			v := policy.Judge(p, h, last.socket, at(last.at))
			if v.Reason != tc.want {
				t.Fatalf("got %v (%s), want %v", v.Reason, policy.Explain(v, p, h, last.socket, at(last.at)), tc.want)
			}
			want := monotime.Time(0)
			if tc.due != 0 {
				want = at(tc.due)
			}
			if v.Deadline != want {
				t.Errorf("deadline is %v after the beginning, want %v", v.Deadline.Sub(at(0)), want.Sub(at(0)))
			}
			if !v.Destroy() && !v.Deadline.IsZero() && !at(last.at).Before(v.Again) {
				t.Errorf("is to be looked at again at %v, which is over", v.Again.Sub(at(0)))
			}
		})
	}
}

func ports(text string) policy.Ports {
	var p policy.Ports
	if err := p.UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	return p
}

// TestAReaderIsNotMissed asks when a socket is looked at again that was seen becoming half-closed, with a grace of 20 s in
// CLOSE_WAIT and 40 s in FIN_WAIT2.
func TestAReaderIsNotMissed(t *testing.T) {
	unread := func(s *inetdiag.Socket) { s.RQueue = 3 }
	clockState := func(p *policy.Policy) { p.Clock = policy.ClockState }
	entry := func(s *inetdiag.Socket) look { return look{at: 1, entered: 1, socket: s} }
	for name, tc := range map[string]struct {
		policy func(*policy.Policy)
		looks  []look
		again  float64
	}{
		"nothing to read":                 {looks: []look{entry(closeWait(0))}, again: 21},
		"bytes to read":                   {looks: []look{entry(closeWait(0, unread))}, again: 6},
		"a peer that may go on":           {looks: []look{entry(closeWait(0, finWait2))}, again: 11},
		"looked at once more":             {looks: []look{entry(closeWait(0, unread)), {at: 6, socket: closeWait(5*time.Second, unread)}}, again: 21},
		"not seen becoming half-closed":   {looks: []look{{at: 1, socket: closeWait(0, unread)}}, again: 21},
		"no matter what its owner does":   {policy: clockState, looks: []look{entry(closeWait(0, finWait2))}, again: 41},
		"with what it was then, as a FIN": {looks: []look{entry(closeWait(0, func(s *inetdiag.Socket) { s.RQueue = 1 }))}, again: 21},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy.Default()
			p.CloseWaitGrace, p.FinWait2Grace = policy.Grace(20*time.Second), policy.Grace(40*time.Second)
			if tc.policy != nil {
				tc.policy(&p)
			}
			h := follow(tc.looks)
			last := tc.looks[len(tc.looks)-1]
			if v := policy.Judge(p, h, last.socket, at(last.at)); v.Reason != policy.Young || v.Again != at(tc.again) {
				t.Errorf("%v, again after %v, want young, after %v s", v.Reason, v.Again.Sub(at(0)), tc.again)
			}
		})
	}
}

// follow makes the history of some looks.
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
