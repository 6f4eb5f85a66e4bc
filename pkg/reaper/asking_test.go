// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// asks makes the reaper ask peers. The test passes the reaper to the returned function once it exists.
func asks(t *testing.T) (change func(*reaper.Config), begin func(*reaper.Reaper)) {
	t.Helper()
	reapers := make(chan *reaper.Reaper, 1)
	change = func(c *reaper.Config) {
		findsOwners(c)
		c.Conditions = owners.NewProc("/proc").Conditions
		p, err := prober.New(prober.Config{
			Dir: t.TempDir(), Opener: finder.Opener{Root: c.Root}, Clock: c.Clock, Budget: 1, Log: c.Log,
			Answered: func(answers []prober.Answer) {
				r := <-reapers
				reapers <- r
				r.Answered(answers)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Asker = p
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	return change, func(r *reaper.Reaper) { reapers <- r }
}

// orphanTimeout makes the kernel drop a namespace's orphaned connections after that many seconds.
func orphanTimeout(t *testing.T, ns *nstest.NS, seconds string) {
	t.Helper()
	ns.Do(t, func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/tcp_fin_timeout", []byte(seconds), 0); err != nil {
			t.Error(err)
		}
	})
}

// TestClosedPeerIsDistinguishedFromABusyOne has two connections with the same policy: one peer has closed it after
// sending last bytes, which stay unread; the other has shut down its sending side and still computes its answer.
func TestClosedPeerIsDistinguishedFromABusyOne(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns, far := newNS(t), newNS(t)
		nstest.Link(t, ns, far)
		orphanTimeout(t, far, "2")
		l := far.ListenAt(t, nstest.LinkB+":0")
		farewell := bytes.Repeat([]byte("x"), 25)
		leaked, computing := ns.ConnectFrom(t, "", l), ns.ConnectFrom(t, "", l)
		change, begin := asks(t)
		n := newNode(t, finder, change)
		begin(n.Reaper)
		n.register(ns, timing(inetdiag.CloseWait, time.Hour, func(p *policy.Policy) { p.ProbeAfter = policy.Patience(time.Second) }))
		if _, err := leaked.Server.Write(farewell); err != nil {
			t.Fatal(err)
		}
		check(t, "the peer's close", leaked.Server.Close(), nil)
		check(t, "the other peer's shutdown", computing.Server.CloseWrite(), nil)

		e := n.awaitEntry(leaked.Client, api.PeerGone)
		if e.How != "reset" || e.OwnerResult != "recv: unread bytes, then EOF; send: EPIPE" || time.Duration(e.Age) > 30*time.Second {
			t.Errorf("the history says %q, %q, at the age of %v", e.How, e.OwnerResult, time.Duration(e.Age))
		}
		if got, err := io.ReadAll(leaked.Client); err != nil || !bytes.Equal(got, farewell) {
			t.Errorf("its owner reads %q, %v", got, err)
		}
		check(t, "its owner's send", sent(leaked.Client), unix.EPIPE)

		n.awaitVerdict(computing.Client, policy.PeerAlive)
		check(t, "the answer", sent(computing.Client), nil)
		check(t, "its arrival", received(computing.Server), nil)
		if n.status().Counts.PeerGone != 1 {
			t.Errorf("%d peers are counted as gone", n.status().Counts.PeerGone)
		}
		raw, err := computing.Client.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var keepalive int
		err = raw.Control(func(fd uintptr) { keepalive, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE) })
		if err != nil || keepalive != 0 {
			t.Errorf("keepalive is %d: %v", keepalive, err)
		}
	})
}
