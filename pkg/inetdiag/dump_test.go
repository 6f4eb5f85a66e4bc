// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"errors"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func TestDumpReportsEachNetworkOnce(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	for _, network := range nstest.Networks {
		halfClose(t, c, ns.Connect(t, network))
	}
	for _, tt := range []struct {
		name   string
		filter inetdiag.Filter
		want   map[string]int
	}{
		{
			"both families in one legacy walk",
			inetdiag.Filter{},
			map[string]int{"ipv4": 2, "ipv6": 2, "v4-mapped": 2},
		},
		{
			"both families in two walks",
			inetdiag.Filter{NoLegacy: true},
			map[string]int{"ipv4": 2, "ipv6": 2, "v4-mapped": 2},
		},
		{"AF_INET has no v4-mapped sockets", inetdiag.Filter{Family: unix.AF_INET}, map[string]int{"ipv4": 2}},
		{"AF_INET6 has them", inetdiag.Filter{Family: unix.AF_INET6}, map[string]int{"ipv6": 2, "v4-mapped": 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := make(map[string]int)
			tt.filter.States = inetdiag.HalfClosed
			for _, s := range dump(t, c, tt.filter) {
				switch {
				case s.ID.Mapped():
					got["v4-mapped"]++
				case s.ID.Family() == unix.AF_INET6:
					got["ipv6"]++
				case s.ID.Family() == unix.AF_INET:
					got["ipv4"]++
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("sockets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDumpReportsTheRequestedStatesOnly(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	ns.Connect(t, nstest.IPv4)
	ns.Listen(t, nstest.IPv6)
	halfClose(t, c, ns.Connect(t, nstest.IPv6))
	for _, tt := range []struct {
		states inetdiag.States
		want   map[inetdiag.State]int
	}{
		{0, map[inetdiag.State]int{}},
		{1 << inetdiag.TimeWait, map[inetdiag.State]int{}},
		{1 << inetdiag.CloseWait, map[inetdiag.State]int{inetdiag.CloseWait: 1}},
		{1 << inetdiag.FinWait2, map[inetdiag.State]int{inetdiag.FinWait2: 1}},
		{inetdiag.HalfClosed, map[inetdiag.State]int{inetdiag.CloseWait: 1, inetdiag.FinWait2: 1}},
		{1 << inetdiag.Listen, map[inetdiag.State]int{inetdiag.Listen: 1}},
		{inetdiag.AllStates, map[inetdiag.State]int{
			inetdiag.CloseWait: 1, inetdiag.FinWait2: 1, inetdiag.Listen: 1, inetdiag.Established: 2,
		}},
	} {
		got := make(map[inetdiag.State]int)
		for _, s := range dump(t, c, inetdiag.Filter{States: tt.states}) {
			got[s.State]++
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("states %#x (-want +got):\n%s", tt.states, diff)
		}
	}
}

func TestDumpReportsTCPInfoOnRequestOnly(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	p := ns.Connect(t, nstest.IPv4)
	if _, err := p.Client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	halfClose(t, c, p)
	cookie := cookieOf(t, p.Server)
	for _, noLegacy := range []bool{false, true} {
		f := inetdiag.Filter{States: inetdiag.HalfClosed, NoLegacy: noLegacy}
		if s := dump(t, c, f)[cookie]; s.HasInfo || s.Info != (inetdiag.TCPInfo{}) {
			t.Errorf("tcp_info without a request: %+v", s.Info)
		}
		f.Info = true
		s := dump(t, c, f)[cookie]
		if !s.HasInfo || s.Info.State != inetdiag.CloseWait {
			t.Errorf("requested tcp_info: %v, %+v", s.HasInfo, s.Info)
		}
		// Five bytes and the FIN are unread. BytesReceived counts the SYN too.
		if got, want := [2]uint64{uint64(s.RQueue), s.Info.BytesReceived}, [2]uint64{6, 6}; got != want {
			t.Errorf("rqueue and bytes received are %d, want %d", got, want)
		}
	}
}

func TestSocketsWithoutAnOwnerHaveInodeZero(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)

	t.Run("a connection in the accept queue", func(t *testing.T) {
		l := ns.Listen(t, nstest.IPv4)
		port := l.Addr().(*net.TCPAddr).Port
		client := ns.Dial(t, nstest.IPv4, port)
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		awaitState(t, c, client, inetdiag.FinWait2)
		s := only(t, dump(t, c, inetdiag.Filter{States: 1 << inetdiag.CloseWait, Info: true}))
		if s.Inode != 0 || !s.HasInfo {
			t.Errorf("inode is %d, has tcp_info: %v; want 0, true", s.Inode, s.HasInfo)
		}
		server, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if s, err = c.Lookup(s.ID); err != nil || s.Inode == 0 {
			t.Errorf("accepted: inode is %d, %v; want an inode", s.Inode, err)
		}
	})

	t.Run("an orphan, which is a mini-socket", func(t *testing.T) {
		p := ns.Connect(t, nstest.IPv6)
		id := socketOf(t, c, p.Client).ID
		if err := p.Client.Close(); err != nil {
			t.Fatal(err)
		}
		awaitState(t, c, p.Server, inetdiag.CloseWait)
		var s inetdiag.Socket
		nstest.Eventually(t, patience, "an orphan in FIN_WAIT2", func() bool {
			var err error
			s, err = c.Lookup(id)
			return err == nil && s.State == inetdiag.FinWait2
		})
		if s.Inode != 0 || s.HasInfo || s.Timer != 3 || s.Expires <= 0 {
			t.Errorf("got %+v, want no inode, no tcp_info, and timer 3 running", s)
		}
		if s.ID != id {
			t.Errorf("id is %v, with its owner it was %v", s.ID, id)
		}
	})
}

func TestDumpOfSeveralDatagramsRepeatsNoSocket(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	const pairs = 300 // several datagrams
	want := make(map[uint64]bool)
	for i := range pairs {
		p := ns.Connect(t, nstest.Networks[i%len(nstest.Networks)])
		want[cookieOf(t, p.Client)], want[cookieOf(t, p.Server)] = true, true
	}
	for _, noLegacy := range []bool{false, true} {
		got := make(map[uint64]bool)
		for cookie := range dump(t, c, inetdiag.Filter{States: 1 << inetdiag.Established, Info: true, NoLegacy: noLegacy}) {
			got[cookie] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("cookies (-want +got):\n%s", diff)
		}
	}
}

func TestDumpReturnsTheErrorOfVisit(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	ns.Connect(t, nstest.IPv4)
	ns.Connect(t, nstest.IPv6)
	stop := errors.New("stop")
	for _, noLegacy := range []bool{false, true} {
		visits := 0
		f := inetdiag.Filter{States: inetdiag.AllStates, NoLegacy: noLegacy}
		err := c.Dump(f, func(*inetdiag.Socket) error { visits++; return stop })
		if !errors.Is(err, stop) || visits != 1 {
			t.Errorf("got %v after %d visits, want %v after 1", err, visits, stop)
		}
		if got := len(dump(t, c, f)); got != 4 {
			t.Errorf("the next dump reports %d sockets, want 4", got)
		}
	}
}
