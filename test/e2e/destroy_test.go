// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestLeaksAreDestroyedAfterTheAnnotationsGraceAndOtherConnectionsAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := network(t)
	leaky := newContainer(t, map[string]string{"halfclose.cni/grace": "1s"})
	patient := newContainer(t, nil) // with the network's grace of an hour
	w.add(t, list, leaky)
	w.add(t, list, patient)

	open := leaky.Connect(t, nstest.IPv4)
	busy := leaky.Connect(t, nstest.IPv4)
	stop := keepSending(t, busy)
	leak := leaky.Connect(t, nstest.IPv4)
	twin := patient.Connect(t, nstest.IPv4)
	for _, err := range []error{busy.Client.CloseWrite(), leak.Client.Close(), twin.Client.CloseWrite()} {
		if err != nil {
			t.Fatal(err)
		}
	}

	entries := w.AwaitEntries("a socket is destroyed, and its owner is known", func(entries []api.Entry) bool {
		return len(entries) > 0 && len(entries[0].Owners) > 0
	})
	if _, err := leak.Server.Write([]byte("x")); !errors.Is(err, unix.ECONNABORTED) {
		t.Errorf("a write to the leak returns %v, want ECONNABORTED", err)
	}
	var busyAge time.Duration
	nstest.Eventually(t, testnode.Patience, "the busy connection is older than its grace", func() bool {
		v, _, err := w.FindSocket(testnode.ConnOf(busy.Server), api.SocketQuery{All: true})
		if err == nil && v.Age != nil {
			busyAge = time.Duration(*v.Age)
		}
		return busyAge > 2*time.Second && v.Verdict == policy.Progressing
	})
	if n := timeWaits(t, leaky); n > 0 {
		t.Errorf("%d sockets are in TIME_WAIT", n)
	}
	if err := stop(); err != nil {
		t.Errorf("the busy connection did not survive: %v", err)
	}
	if _, err := open.Client.Write([]byte("x")); err != nil {
		t.Errorf("the open connection did not survive: %v", err)
	}
	if err := readByte(open.Server); err != nil {
		t.Errorf("the open connection did not survive: %v", err)
	}
	if _, err := twin.Server.Write([]byte("x")); err != nil {
		t.Errorf("the twin did not survive: %v", err)
	}
	if err := readByte(twin.Client); err != nil {
		t.Errorf("the twin did not survive: %v", err)
	}

	at := testnode.ConnOf(leak.Server)
	want := []api.Entry{{
		Seq: 1, Outcome: "destroyed", Pod: state.Pod{Namespace: "e2e", Name: leaky.name, UID: "uid-" + leaky.name}, Network: "pods",
		ContainerID: leaky.runtime.ContainerID, Local: at.Local, Peer: at.Peer,
		State: inetdiag.CloseWait, Grace: policy.Patience(time.Second), RQueue: 1, // the FIN
		Owners: []owners.Process{self(t)},
	}}
	measured := cmpopts.IgnoreFields(api.Entry{}, "Time", "Age", "Idle", "Late", "Excused", "ExcusedBy", "UID", "Cookie")
	if diff := cmp.Diff(want, entries, measured, cmpopts.IgnoreFields(owners.Process{}, "ContainerID"), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Fatalf("history (-want +got)\n%s", diff)
	}
	if age := time.Duration(entries[0].Age); age < time.Second {
		t.Errorf("it was destroyed at the age of %v", age)
	}
}

// self returns this process as an owner of sockets.
func self(t *testing.T) owners.Process {
	t.Helper()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return owners.Process{PID: os.Getpid(), Command: strings.TrimSpace(string(comm))}
}

// keepSending sends at the server's end and reads at the client's until stop is called. stop returns the errors of both.
func keepSending(t *testing.T, p nstest.Pair) (stop func() error) {
	t.Helper()
	quit, sent, read := make(chan struct{}), make(chan error, 1), make(chan error, 1)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := p.Server.Write([]byte("x")); err != nil {
				sent <- err
				return
			}
			select {
			case <-quit:
				sent <- p.Server.CloseWrite()
				return
			case <-tick.C:
			}
		}
	}()
	go func() {
		_, err := io.Copy(io.Discard, p.Client)
		read <- err
	}()
	return func() error {
		close(quit)
		return errors.Join(<-sent, <-read)
	}
}

func readByte(c *net.TCPConn) error {
	if err := c.SetReadDeadline(time.Now().Add(testnode.Patience)); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// timeWaits counts the sockets in TIME_WAIT.
func timeWaits(t *testing.T, c *container) (n int) {
	t.Helper()
	c.Do(t, func() {
		conn, err := inetdiag.Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		err = conn.Dump(inetdiag.Filter{States: inetdiag.AllStates}, func(s *inetdiag.Socket) error {
			if s.State == inetdiag.TimeWait {
				n++
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	return n
}
