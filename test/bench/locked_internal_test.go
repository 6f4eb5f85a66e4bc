// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
)

// lockedTest has a network namespace, and the program that compares and destroys.
type lockedTest struct {
	*nstest.NS
	d  *lockedDestroyer
	at finder.Netns
}

func newLockedTest(t *testing.T) lockedTest {
	t.Helper()
	d, err := newLockedDestroyer(16)
	if errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(t, "load BPF programs", err)
	}
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) {
		t.Skipf("bpf_sock_destroy needs Linux 6.5: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	ns := nstest.New(t)
	id, err := netns.Identify(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	return lockedTest{NS: ns, d: d, at: finder.Netns{Identity: id, Paths: []string{ns.Path()}}}
}

// halfClose makes half-closed connections, and returns them with their sockets in a state.
func (l lockedTest) halfClose(t *testing.T, n int, st inetdiag.State) (pairs []nstest.Pair, judged []judgedSocket) {
	t.Helper()
	for range n {
		p := l.Connect(t, nstest.IPv4)
		if err := p.Client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, p)
	}
	nstest.Eventually(t, 2*time.Minute, "all are half-closed", func() bool {
		judged = judged[:0]
		err := dump(l.at, inetdiag.Filter{States: 1 << st, Info: true}, func(s *inetdiag.Socket) { judged = append(judged, judgedSocket{l.at, *s}) })
		return err == nil && len(judged) >= n
	})
	return pairs, judged
}

func TestASocketThatChangesAfterItsJudgementIsNotDestroyedUnderItsLock(t *testing.T) {
	l := newLockedTest(t)
	pairs, judged := l.halfClose(t, 3, inetdiag.CloseWait)
	moved := pairs[1].Server
	if _, err := moved.Write([]byte("progress")); err != nil {
		t.Fatal(err)
	}
	peers := func(j judgedSocket) bool {
		return int(j.socket.ID.Peer().Port()) == moved.RemoteAddr().(*net.TCPAddr).Port
	}
	results, err := l.d.destroy(judged)
	if err != nil {
		t.Fatal(err)
	}
	for i, j := range judged {
		if want := map[bool]int32{true: lockedChanged}[peers(j)]; results[i] != want {
			t.Errorf("%v: the result is %d, want %d", j.socket.ID, results[i], want)
		}
	}
	gone := judged[slices.IndexFunc(judged, func(j judgedSocket) bool { return !peers(j) })]
	if results, err := l.d.destroy([]judgedSocket{gone}); err != nil || !slices.Equal(results, []int32{lockedNotFound}) {
		t.Errorf("a socket that is gone: %v, %v", results, err)
	}
	left := 0
	if err := dump(l.at, inetdiag.Filter{States: 1 << inetdiag.CloseWait}, func(*inetdiag.Socket) { left++ }); err != nil || left != 1 {
		t.Errorf("%d sockets are left, want the one with progress: %v", left, err)
	}
}

// TestOwnersSeeTheSameErrorsWhicheverWayASocketIsDestroyed compares it with SOCK_DESTROY, for both states.
func TestOwnersSeeTheSameErrorsWhicheverWayASocketIsDestroyed(t *testing.T) {
	l := newLockedTest(t)
	for _, st := range []inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2} {
		t.Run(st.String(), func(t *testing.T) {
			var saw []string
			for _, locked := range []bool{false, true} {
				pairs, judged := l.halfClose(t, 1, st)
				var err error
				if locked {
					err = checkDestroyed(l.d.destroy(judged))
				} else {
					_, err = lookUpAndDestroy(judged)
				}
				if err != nil {
					t.Fatal(err)
				}
				conn := map[inetdiag.State]*net.TCPConn{inetdiag.CloseWait: pairs[0].Server, inetdiag.FinWait2: pairs[0].Client}[st]
				_, first := conn.Read(make([]byte, 1))
				_, second := conn.Read(make([]byte, 1))
				_, write := conn.Write([]byte("x"))
				saw = append(saw, fmt.Sprint(cause(first), ", ", cause(second), ", ", cause(write)))
				pairs[0].Client.Close()
				pairs[0].Server.Close()
			}
			if saw[0] != saw[1] {
				t.Errorf("after SOCK_DESTROY the owner sees %s, after bpf_sock_destroy %s", saw[0], saw[1])
			}
			t.Logf("the owner sees %s", saw[1])
		})
	}
}

// cause returns the errno of an error, or the error itself.
func cause(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return err
}
