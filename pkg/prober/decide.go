// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// baseline is what was known of a socket before its peer was asked.
type baseline struct {
	ack      monotime.Time // when the peer's last acknowledgement came
	received uint64        // bytes, the FIN counting 1
	// probes without an answer end the socket, or an unanswered one once timeout has passed since the last
	// acknowledgement if that is not 0.
	probes  int
	timeout time.Duration
}

// ackSlack is more than two ticks of the slowest kernel (HZ=100): the time of an acknowledgement is the difference of
// two times of that resolution.
const ackSlack = 25 * time.Millisecond

// decide returns how the question ends after a lookup, 0 if it goes on.
func (b *baseline) decide(s *inetdiag.Socket, at monotime.Time) (Result, error) {
	switch {
	case !s.State.HalfClosed() || s.Inode == 0 || !s.HasInfo:
		return Closed, nil
	case s.WQueue > 0: // the kernel retransmits now, and counts that instead of probes
		return Cancelled, ErrUnacked
	case b.ack.Add(ackSlack).Before(at.Add(-s.Info.LastAckRecv)):
		return Alive, nil
	}
	return 0, nil
}

// ended returns how a socket ended that sock_diag shows no more, by what a duplicate says of it.
func (b *baseline) ended(i *unix.TCPInfo) Result {
	sinceAck := time.Duration(i.Last_ack_recv) * time.Millisecond
	switch {
	case inetdiag.State(i.State) != inetdiag.Close: // shut by its owner, or connected again
		return Closed
	case i.Bytes_received != b.received: // the peer's FIN came, or its owner disconnected it, which resets all counts
		return Closed
	case int(i.Probes) >= b.probes, b.timeout > 0 && i.Probes > 0 && sinceAck >= b.timeout:
		return TimedOut
	}
	return Reset
}

// lookupDelay returns how long after the start of a question its nth lookup comes, from 0 on: none comes before a probe
// can have been answered. idle is the TCP_KEEPIDLE of the question.
func lookupDelay(n int, idle int32, interval time.Duration) time.Duration {
	if n == 0 {
		// The second probe that a living peer gets comes TCP_KEEPIDLE after the first.
		return min(time.Duration(idle)*time.Second, lastProbeDelay) + answerTime
	}
	return lastProbeDelay + time.Second + time.Duration(n-1)*interval
}

// patience is how long a question lasts if the kernel neither gets an answer nor gives up: one interval more than all
// probes take, and what the lookups add.
func patience(probes int, interval time.Duration) time.Duration {
	return time.Duration(probes+1)*interval + lastProbeDelay + time.Second
}

const (
	// answerTime is how long an answer to a probe usually takes, and the wake-up of an owner that it causes.
	answerTime = 100 * time.Millisecond
	// probeMargin is how long before a probe no duplicate of the socket is taken any more.
	probeMargin = 250 * time.Millisecond
	// quietTime is how long an owner has to close a socket that has ended before a duplicate of it is taken. It is also
	// how long a restoration is put off that a probe would fall into: past the answer, and well before another probe.
	quietTime = 500 * time.Millisecond
)

// keepaliveTimer is the inetdiag.Socket.Timer of keepalive probes.
const keepaliveTimer = 2
