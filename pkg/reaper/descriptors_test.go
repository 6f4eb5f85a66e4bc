// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/descriptors"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// envPoll makes the test binary a process that closes each of its connections, whose number is the value, when epoll reports
// an error of it. Then it prints a line, and waits for the end of its standard input.
const envPoll = "HALFCLOSE_TEST_POLL"

func pollConnections() error {
	var left int
	if _, err := fmt.Sscan(os.Getenv(envPoll), &left); err != nil {
		return err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	for fd := 3; fd < 3+left; fd++ { // without events it reports errors alone
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Fd: int32(fd)}); err != nil {
			return err
		}
	}
	fmt.Println("polls")
	events := make([]unix.EpollEvent, 16)
	for left > 0 {
		n, err := unix.EpollWait(epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for i := range max(n, 0) {
			if err := unix.Close(int(events[i].Fd)); err != nil {
				return err
			}
			left--
		}
	}
	fmt.Println("closed all")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// closeWaiting returns connections in CLOSE_WAIT, which the test owns until it closes them.
func closeWaiting(t *testing.T, ns *nstest.NS, n int) []*net.TCPConn {
	t.Helper()
	conns := make([]*net.TCPConn, n)
	for i := range conns {
		conns[i] = end(shut(t, ns.Connect(t, nstest.IPv4)), inetdiag.CloseWait)
	}
	return conns
}

// watchesDescriptors has a reaper watch descriptors, with the state in its state directory.
func watchesDescriptors(t *testing.T) func(*reaper.Config) {
	t.Helper()
	boot, err := netns.BootID()
	if err != nil {
		t.Fatal(err)
	}
	return func(c *reaper.Config) {
		findsOwners(c)
		c.Descriptors = descriptors.New(descriptors.Config{
			Processes: owners.NewProc("/proc"), Clock: nstest.Clock(t), Budget: 1, Boot: boot, Path: filepath.Join(c.Store.Dir(), "descriptors"),
		})
	}
}

// descriptorsOf returns what the status says about descriptors.
func (n *node) descriptorsOf(t *testing.T) api.DescriptorsView {
	t.Helper()
	s, err := n.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s.Descriptors
}

// TestStatusSaysWhoHoldsDestroyedSockets has one process that never looks at its connections, and one that closes each on an
// error. The reaper is restarted in between.
func TestStatusSaysWhoHoldsDestroyedSockets(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		const each = 50
		ns, n := newNS(t), newNode(t, finder, watchesDescriptors(t))
		keeps, closes := closeWaiting(t, ns, each), closeWaiting(t, ns, each)
		leaker := holder(t, ns, keeps...)
		poll := exec.Command("/proc/self/exe")
		poll.Args[0], poll.Env = os.Args[0], append(os.Environ(), fmt.Sprintf("%s=%d", envPoll, each))
		_, stdout := ns.Start(t, poll, closes...)
		said := bufio.NewScanner(stdout)
		if !said.Scan() || said.Text() != "polls" {
			t.Fatalf("the poller says %q", said.Text())
		}
		for _, c := range append(keeps, closes...) {
			c.Close()
		}
		n.register(ns, timing(inetdiag.CloseWait, 300*time.Millisecond))
		if !said.Scan() || said.Text() != "closed all" {
			t.Fatalf("the poller says %q", said.Text())
		}
		want := []api.DescriptorHolder{{
			Process: owners.Process{PID: leaker.PID, Command: leaker.Command}, Held: each, Ended: each,
		}}
		await := func(closed uint64) {
			t.Helper()
			var v api.DescriptorsView
			nstest.Eventually(t, patience, "the processes of all destroyed sockets have been checked", func() bool {
				v = n.descriptorsOf(t)
				return v.Held == each && v.Closed == closed
			})
			for i := range v.Holders {
				if h := &v.Holders[i]; h.Since.IsZero() || time.Since(h.Since) > time.Hour {
					t.Errorf("held since %v", h.Since)
				} else {
					h.Since = time.Time{}
				}
				v.Holders[i].Pod.Namespace, v.Holders[i].Pod.Name = "", ""
			}
			if diff := cmp.Diff(want, v.Holders, whichContainer()); diff != "" {
				t.Errorf("holders (-want +got)\n%s", diff)
			}
			if v.Tracked != each || v.Untracked != 0 {
				t.Errorf("%d tracked, %d untracked, want %d and 0", v.Tracked, v.Untracked, each)
			}
		}
		await(each)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n.start(finder, watchesDescriptors(t))
		await(0)
		if err := unix.Kill(leaker.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		nstest.Eventually(t, patience, "nothing is held after the process has exited", func() bool {
			v := n.descriptorsOf(t)
			return v.Held == 0 && v.Closed == each && len(v.Holders) == 0
		})
	})
}
