// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func TestLookupReportsTheSameAsADump(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	for _, network := range nstest.Networks {
		p := ns.Connect(t, network)
		if _, err := p.Client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		halfClose(t, c, p)
	}
	for _, want := range dump(t, c, inetdiag.Filter{States: inetdiag.HalfClosed, Info: true}) {
		got, err := c.Lookup(want.ID)
		if err != nil {
			t.Errorf("look up %v: %v", want.ID, err)
			continue
		}
		// These change between the two requests.
		for _, i := range []*inetdiag.TCPInfo{&want.Info, &got.Info} {
			i.LastDataRecv, i.LastAckRecv = 0, 0
		}
		want.Expires, got.Expires = 0, 0
		if diff := cmp.Diff(want, got, cmp.Comparer(sameID)); diff != "" {
			t.Errorf("socket (-dump +lookup):\n%s", diff)
		}
	}
}

func sameID(a, b inetdiag.ID) bool { return a == b }

func TestNewIDWithTheSocketsCookieEqualsTheKernelsID(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	for _, tt := range []struct {
		network string
		family  uint8
	}{{nstest.IPv4, unix.AF_INET}, {nstest.IPv6, unix.AF_INET6}, {nstest.Mapped, unix.AF_INET6}} {
		p := ns.Connect(t, tt.network)
		local, peer := p.Server.LocalAddr().(*net.TCPAddr).AddrPort(), p.Server.RemoteAddr().(*net.TCPAddr).AddrPort()
		got := inetdiag.NewID(tt.family, local, peer, 0, cookieOf(t, p.Server))
		if want := socketOf(t, c, p.Server).ID; got != want {
			t.Errorf("%s: id is %v, the kernel's %v", tt.network, got, want)
		}
	}
}

func TestASocketBoundToADeviceIsFoundOnlyWithItsInterface(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		cerr := raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "lo") })
		if cerr != nil {
			return cerr
		}
		return err
	}}
	lc.SetMultipathTCP(false)
	var (
		l   net.Listener
		err error
	)
	ns.Do(t, func() { l, err = lc.Listen(context.Background(), "tcp4", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client := ns.Dial(t, nstest.IPv4, l.Addr().(*net.TCPAddr).Port)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p := nstest.Pair{Client: client, Server: server.(*net.TCPConn)}
	halfClose(t, c, p)

	s := only(t, dump(t, c, inetdiag.Filter{States: 1 << inetdiag.CloseWait}))
	if s.ID.Interface() != 1 {
		t.Fatalf("interface is %d, want 1 (lo)", s.ID.Interface())
	}
	without := inetdiag.NewID(s.ID.Family(), s.ID.Local(), s.ID.Peer(), 0, s.ID.Cookie())
	if _, err := c.Lookup(without); !errors.Is(err, inetdiag.ErrGone) {
		t.Errorf("look up without the interface: %v, want %v", err, inetdiag.ErrGone)
	}
	if err := c.Destroy(without); !errors.Is(err, inetdiag.ErrGone) {
		t.Errorf("destroy without the interface: %v, want %v", err, inetdiag.ErrGone)
	}
	if _, err := c.Lookup(s.ID); err != nil {
		t.Errorf("look up: %v", err)
	}
	if err := c.Destroy(s.ID); err != nil {
		t.Errorf("destroy: %v", err)
	}
}

func TestEachPipelinedAnswerComesWithItsIndex(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	const pairs = 75 // two full chunks and a part of one
	ids := make([]inetdiag.ID, pairs)
	want := make([]error, pairs)
	conns := make([]nstest.Pair, pairs)
	for i := range ids {
		conns[i] = ns.Connect(t, nstest.Networks[i%len(nstest.Networks)])
		ids[i] = socketOf(t, c, conns[i].Client).ID
		switch {
		case i%5 == 3:
			want[i] = inetdiag.ErrGone
			if err := c.Destroy(ids[i]); err != nil {
				t.Fatal(err)
			}
		case i%7 == 2 || i >= 64 && i < 70:
			want[i] = inetdiag.ErrBadID
			ids[i] = withCookie(ids[i], 0)
		}
	}

	got := make([]error, 0, pairs)
	if err := c.LookupAll(ids, func(i int, s *inetdiag.Socket, err error) {
		if i != len(got) {
			t.Fatalf("visit %d has index %d", len(got), i)
		}
		if err == nil && (s.ID != ids[i] || !s.HasInfo) {
			t.Errorf("index %d: got %v, want %v with tcp_info", i, s.ID, ids[i])
		}
		if (s == nil) != (err != nil) {
			t.Errorf("index %d: socket %v and error %v", i, s, err)
		}
		got = append(got, err)
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(sameError)); diff != "" {
		t.Errorf("looked up (-want +got):\n%s", diff)
	}

	// Every third one survives.
	doomed := make([]inetdiag.ID, 0, pairs)
	doomedWant := make([]error, 0, pairs)
	for i := range ids {
		if i%3 != 0 {
			doomed, doomedWant = append(doomed, ids[i]), append(doomedWant, want[i])
		}
	}
	got = got[:0]
	if err := c.DestroyAll(doomed, nil, func(i int, err error) {
		if i != len(got) {
			t.Fatalf("visit %d has index %d", len(got), i)
		}
		got = append(got, err)
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(doomedWant, got, cmp.Comparer(sameError)); diff != "" {
		t.Errorf("destroyed (-want +got):\n%s", diff)
	}
	for i := range ids {
		if i%3 == 0 && want[i] == nil {
			assertWorks(t, conns[i])
		}
		if _, err := c.Lookup(ids[i]); i%3 != 0 && want[i] == nil && !errors.Is(err, inetdiag.ErrGone) {
			t.Errorf("look up destroyed index %d: %v", i, err)
		}
	}
}

func TestAnEmptyListIsNoError(t *testing.T) {
	c := open(t, nstest.New(t))
	if err := c.LookupAll(nil, nil); err != nil {
		t.Error(err)
	}
	if err := c.DestroyAll(nil, nil, nil); err != nil {
		t.Error(err)
	}
}
