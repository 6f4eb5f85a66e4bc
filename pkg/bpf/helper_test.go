// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// patience is the timeout of waits.
const patience = 20 * time.Second

// load loads the programs until the test ends.
func load(tb testing.TB, o bpf.Options) *bpf.Programs {
	tb.Helper()
	p, err := bpf.Load(o)
	if _, ok := errors.AsType[*bpf.UnsupportedError](err); ok {
		nstest.NeedBPF(tb, err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// testNetns is a network namespace with a sock_diag socket in it.
type testNetns struct {
	*nstest.NS
	diag   *inetdiag.Conn
	cookie uint64
}

func newNetns(tb testing.TB) testNetns {
	tb.Helper()
	at := testNetns{NS: nstest.New(tb)}
	var err error
	at.Do(tb, func() { at.diag, err = inetdiag.Open() })
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { at.diag.Close() })
	if at.cookie, err = at.diag.NetnsCookie(); err != nil {
		tb.Fatal(err)
	}
	return at
}

// sockets returns the half-closed sockets that sock_diag reports, by cookie.
func (at testNetns) sockets(tb testing.TB) map[uint64]inetdiag.Socket {
	tb.Helper()
	found := make(map[uint64]inetdiag.Socket)
	err := at.diag.Dump(inetdiag.Filter{States: inetdiag.HalfClosed, Info: true}, func(s *inetdiag.Socket) error {
		found[s.ID.Cookie()] = *s
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

func watch(tb testing.TB, p *bpf.Programs, namespaces ...testNetns) {
	tb.Helper()
	cookies := make([]uint64, 0, len(namespaces))
	for _, at := range namespaces {
		cookies = append(cookies, at.cookie)
	}
	if err := p.Watch(cookies); err != nil {
		tb.Fatal(err)
	}
}

// entries returns the set, by cookie.
func entries(tb testing.TB, p *bpf.Programs) map[uint64]bpf.Socket {
	tb.Helper()
	found := make(map[uint64]bpf.Socket)
	if err := p.Entries(func(s *bpf.Socket) error { found[s.ID.Cookie()] = *s; return nil }); err != nil {
		tb.Fatal(err)
	}
	return found
}

// walk returns the sockets that Walk reports, by cookie.
func walk(tb testing.TB, p *bpf.Programs) map[uint64][]bpf.OwnedSocket {
	tb.Helper()
	found := make(map[uint64][]bpf.OwnedSocket)
	err := p.Walk(func(s *bpf.OwnedSocket) error {
		found[s.ID.Cookie()] = append(found[s.ID.Cookie()], *s)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// halfClose shuts the client's side of a connection, and waits until both ends are half-closed.
func (at testNetns) halfClose(tb testing.TB, pair nstest.Pair) {
	tb.Helper()
	want := len(at.sockets(tb)) + 2
	if err := pair.Client.CloseWrite(); err != nil {
		tb.Fatal(err)
	}
	nstest.Eventually(tb, patience, "both ends half-closed", func() bool { return len(at.sockets(tb)) == want })
}

func inodeOf(tb testing.TB, fd int) uint32 {
	tb.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		tb.Fatal(err)
	}
	return uint32(st.Ino)
}

// sometime calls try up to ten times, until it returns no failure. The kernel skips the program at some state changes,
// more often on a busy machine, so one failure proves nothing.
func sometime(t *testing.T, try func(t *testing.T) (failure string)) {
	t.Helper()
	failure := ""
	for range 10 {
		if failure = try(t); failure == "" {
			return
		}
		t.Logf("retry: %s", failure)
	}
	t.Error(failure)
}

// soon reports whether cond holds within a second.
func soon(cond func() bool) bool {
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if cond() {
			return true
		}
	}
	return false
}
