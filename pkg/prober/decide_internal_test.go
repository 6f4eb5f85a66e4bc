// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

func TestLookupDecidesByTheAcknowledgement(t *testing.T) {
	t.Parallel()
	const before = monotime.Time(time.Hour)
	at := before.Add(90 * time.Second)
	b := baseline{ack: before}
	socket := func(s inetdiag.State, inode, unacked uint32, lastAck time.Duration) inetdiag.Socket {
		return inetdiag.Socket{State: s, Inode: inode, WQueue: unacked, HasInfo: true, Info: inetdiag.TCPInfo{LastAckRecv: lastAck}}
	}
	old := at.Sub(before)
	for name, x := range map[string]struct {
		s    inetdiag.Socket
		want Result
	}{
		"no acknowledgement":                     {socket(inetdiag.CloseWait, 1, 0, old), 0},
		"none, as the ticks make it":             {socket(inetdiag.CloseWait, 1, 0, old-ackTimeError), 0},
		"one":                                    {socket(inetdiag.CloseWait, 1, 0, 40*time.Millisecond), Alive},
		"one, in FIN_WAIT2":                      {socket(inetdiag.FinWait2, 1, 0, 40*time.Millisecond), Alive},
		"the application has written":            {socket(inetdiag.CloseWait, 1, 6, 40*time.Millisecond), Cancelled},
		"its owner has closed it":                {socket(inetdiag.LastAck, 0, 0, 40*time.Millisecond), Closed},
		"its owner has closed it, in FIN_WAIT2":  {socket(inetdiag.FinWait2, 0, 0, 40*time.Millisecond), Closed},
		"the peer's FIN has come (a TIME_WAIT)":  {inetdiag.Socket{State: inetdiag.TimeWait}, Closed},
		"its owner has shut the other direction": {socket(inetdiag.LastAck, 1, 0, old), Closed},
	} {
		if got, _ := b.decide(&x.s, at); got != x.want {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}

func TestTCPInfoOfADuplicateShowsHowTheSocketWasClosed(t *testing.T) {
	t.Parallel()
	info := func(s inetdiag.State, probes uint8, received uint64, segments, lastAck uint32) unix.TCPInfo {
		return unix.TCPInfo{State: uint8(s), Probes: probes, Bytes_received: received, Segs_in: segments, Last_ack_recv: lastAck}
	}
	for name, x := range map[string]struct {
		timeout time.Duration
		info    unix.TCPInfo
		want    Result
	}{
		"all probes are out":                           {0, info(inetdiag.Close, 3, 52, 10, 93_000), TimedOut},
		"a segment came after the last one":            {0, info(inetdiag.Close, 3, 52, 11, 93_000), Reset},
		"one came after the first":                     {0, info(inetdiag.Close, 1, 52, 11, 90_010), Reset},
		"one came before":                              {0, info(inetdiag.Close, 0, 52, 11, 90_010), Reset},
		"none came, and one probe is out":              {0, info(inetdiag.Close, 1, 52, 10, 90_010), Closed},
		"a FIN came":                                   {0, info(inetdiag.Close, 0, 53, 11, 10), Closed},
		"its owner disconnected it":                    {0, info(inetdiag.Close, 0, 0, 0, 10), Closed},
		"its owner connected it again":                 {0, info(inetdiag.Established, 0, 1, 2, 10), Closed},
		"the application's timeout passed":             {5 * time.Second, info(inetdiag.Close, 1, 52, 10, 5_000), TimedOut},
		"a segment came after that, and was read late": {5 * time.Second, info(inetdiag.Close, 1, 52, 11, 9_000), Reset},
	} {
		b := baseline{received: 52, segments: 10, probes: 3, timeout: x.timeout}
		if got := b.closedBy(&x.info); got != x.want {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}

func TestLookupsFollowTheFirstAnswerAndEachInterval(t *testing.T) {
	t.Parallel()
	const interval = 10 * time.Second
	for n, want := range []time.Duration{1600 * time.Millisecond, 2500 * time.Millisecond, 12500 * time.Millisecond, 22500 * time.Millisecond} {
		if got := lookupDelay(n, 90, interval); got != want {
			t.Errorf("lookup %d after %v, want %v", n, got, want)
		}
	}
	last := 0
	for lookupDelay(last, 90, interval) < questionTimeout(6, interval) {
		last++
	}
	if got := lookupDelay(last, 90, interval); got < lastProbeDelay+6*interval {
		t.Errorf("the last lookup is after %v, before all probes were out", got)
	}
}

func TestFirstLookupIsBetweenTheFirstTwoProbes(t *testing.T) {
	t.Parallel()
	for idle := time.Duration(0); idle < 5*time.Second; idle += 10 * time.Millisecond {
		period := armedValues(6, 10*time.Second, idle)[keepIdle]
		first := time.Duration(period)*time.Second - idle // if the peer is alive, each period is followed by another
		look := lookupDelay(0, period, 10*time.Second)
		if look < first+answerTime || look >= first+time.Duration(period)*time.Second-probeMargin {
			t.Errorf("idle for %v: probes after %v and each %d s, a lookup after %v", idle, first, period, look)
		}
	}
}

func TestNoDuplicateIsMadeShortlyBeforeAProbe(t *testing.T) {
	t.Parallel()
	const at = monotime.Time(time.Hour)
	for name, x := range map[string]struct {
		s     inetdiag.Socket
		after time.Duration // since the lookup
		want  bool
	}{
		"no timer runs":                       {inetdiag.Socket{}, time.Minute, false},
		"the probe is far":                    {inetdiag.Socket{Timer: keepaliveTimer, Expires: time.Second}, 0, false},
		"it is near":                          {inetdiag.Socket{Timer: keepaliveTimer, Expires: probeMargin - 1}, 0, true},
		"it is due":                           {inetdiag.Socket{Timer: keepaliveTimer}, 0, true},
		"it has come near since":              {inetdiag.Socket{Timer: keepaliveTimer, Expires: time.Second}, 800 * time.Millisecond, true},
		"the timer is one of retransmissions": {inetdiag.Socket{Timer: 1, Expires: time.Millisecond}, 0, false},
	} {
		var i item
		i.expect(&x.s, at)
		if got := i.isLate(&environment{clock: &handClock{at.Add(x.after)}}); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestEachResultAndObstacleHasAName(t *testing.T) {
	t.Parallel()
	for _, r := range Results() {
		if r.String() == "" {
			t.Errorf("result %d has no name", r)
		}
	}
	for _, o := range Obstacles() {
		if o.String() == "" {
			t.Errorf("obstacle %d has no name", o)
		}
	}
	if len(Results()) != int(resultEnd)-1 || len(Obstacles()) != int(obstacleEnd)-1 {
		t.Error("a list lacks a value")
	}
}

func TestNetClsIsFoundInProcCgroup(t *testing.T) {
	t.Parallel()
	for cgroup, want := range map[string]bool{
		"0::/kubepods\n": false, "": false, "3:net_cls,net_prio:/\n0::/\n": true, "2:cpu:/\n1:net_cls:/pod\n": true,
		"4:cpu:/net_cls\n": false,
	} {
		if got := namesNetCls(cgroup); got != want {
			t.Errorf("%q: %v, want %v", cgroup, got, want)
		}
	}
}

func TestSocketInodeIsParsedFromALink(t *testing.T) {
	t.Parallel()
	for link, want := range map[string]uint32{
		"socket:[4711]": 4711, "socket:[4294967295]": 1<<32 - 1, "socket:[4294967296]": 0, "socket:[]": 0, "socket:[x]": 0,
		"/socket:[4]": 0, "pipe:[4]": 0, "socket:[4": 0, "": 0,
	} {
		if got, ok := socketInode([]byte(link)); got != want && ok || ok != (want != 0) {
			t.Errorf("%q: %d, %v, want %d", link, got, ok, want)
		}
	}
}
