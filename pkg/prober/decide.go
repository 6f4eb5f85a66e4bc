// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// baseline is the state of a socket before its peer was asked.
type baseline struct {
	ack      monotime.Time // when the peer's last acknowledgement arrived
	received uint64        // bytes, the FIN counts 1
	segments uint32        // received, with those without data
	// probes is the number of unanswered probes after which the kernel closes the socket. If timeout is not 0, one is enough
	// once timeout has passed since the last acknowledgement.
	probes  int
	timeout time.Duration
}

// ackTimeError is more than two ticks of the slowest kernel (HZ=100): the time of an acknowledgement is the difference of
// two times of that resolution.
const ackTimeError = 25 * time.Millisecond

// decide returns the result of a question after a lookup, 0 if it continues.
func (b *baseline) decide(s *inetdiag.Socket, at monotime.Time) (Result, error) {
	switch {
	case !s.State.HalfClosed() || s.Inode == 0 || !s.HasInfo:
		return Closed, nil
	case s.WQueue > 0: // the kernel retransmits now, and sends no probes
		return Cancelled, ErrUnacked
	case b.ack.Add(ackTimeError).Before(at.Add(-s.Info.LastAckRecv)):
		return Alive, nil
	}
	return 0, nil
}

// closedBy returns how a socket was closed that sock_diag no longer shows, from the tcp_info of a duplicate.
func (b *baseline) closedBy(i *unix.TCPInfo) Result {
	sinceAck := time.Duration(i.Last_ack_recv) * time.Millisecond
	switch {
	case inetdiag.State(i.State) != inetdiag.Close: // shut by its owner, or connected again
		return Closed
	case i.Bytes_received != b.received: // the peer's FIN arrived, or the owner disconnected it, which resets all counts
		return Closed
	case i.Segs_in != b.segments: // an RST has come, also in answer to the last probe
		return Reset
	case int(i.Probes) >= b.probes, b.timeout > 0 && i.Probes > 0 && sinceAck >= b.timeout:
		return TimedOut
	}
	return Closed // by another program on the node, such as ss --kill
}

// lookupDelay returns the time of the nth lookup, from 0, after the start of a question. No lookup is made before a probe can
// have been answered. idle is the TCP_KEEPIDLE of the question.
func lookupDelay(n int, idle int32, interval time.Duration) time.Duration {
	if n == 0 {
		// A peer that is alive gets its second probe TCP_KEEPIDLE after the first.
		return min(time.Duration(idle)*time.Second, lastProbeDelay) + answerTime
	}
	return lastProbeDelay + time.Second + time.Duration(n-1)*interval
}

// questionTimeout is how long a question lasts if the kernel neither receives an answer nor closes the socket: one interval
// longer than all probes, and the delay of the lookups.
func questionTimeout(probes int, interval time.Duration) time.Duration {
	return time.Duration(probes+1)*interval + lastProbeDelay + time.Second
}

const (
	// answerTime is the usual time of an answer to a probe, and of the wake-up of the owner after it.
	answerTime = 100 * time.Millisecond
	// probeMargin is the time before a probe in which no duplicate of the socket is made.
	probeMargin = 250 * time.Millisecond
	// quietTime is the time that an owner gets to close a reset socket before a duplicate is made. A restoration that is too
	// close to a probe is postponed by the same time: past its answer, and well before another probe.
	quietTime = 500 * time.Millisecond
)

// keepaliveTimer is the inetdiag.Socket.Timer of keepalive probes.
const keepaliveTimer = 2
