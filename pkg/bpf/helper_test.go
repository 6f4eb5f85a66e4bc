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

// patience bounds a wait in a broken run.
const patience = 20 * time.Second

// load loads the programs until the test ends.
func load(tb testing.TB, o bpf.Options) *bpf.Programs {
	tb.Helper()
	p, err := bpf.Load(o)
	if _, ok := errors.AsType[*bpf.UnsupportedError](err); ok {
		nstest.NeedPrivilege(tb, "load the programs", err)
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

// place is a namespace, and sock_diag's view of it.
type place struct {
	*nstest.NS
	diag   *inetdiag.Conn
	cookie uint64
}

func newPlace(tb testing.TB) place {
	tb.Helper()
	at := place{NS: nstest.New(tb)}
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

// sockets are the half-closed ones that sock_diag tells of, by cookie.
func (at place) sockets(tb testing.TB) map[uint64]inetdiag.Socket {
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

func watch(tb testing.TB, p *bpf.Programs, places ...place) {
	tb.Helper()
	cookies := make([]uint64, 0, len(places))
	for _, at := range places {
		cookies = append(cookies, at.cookie)
	}
	if err := p.Watch(cookies); err != nil {
		tb.Fatal(err)
	}
}

// entries are the set, by cookie.
func entries(tb testing.TB, p *bpf.Programs) map[uint64]bpf.Socket {
	tb.Helper()
	found := make(map[uint64]bpf.Socket)
	if err := p.Entries(func(s *bpf.Socket) error { found[s.ID.Cookie()] = *s; return nil }); err != nil {
		tb.Fatal(err)
	}
	return found
}

// walk is what Walk finds, by cookie.
func walk(tb testing.TB, p *bpf.Programs) map[uint64][]bpf.Holding {
	tb.Helper()
	found := make(map[uint64][]bpf.Holding)
	err := p.Walk(func(h *bpf.Holding) error {
		found[h.ID.Cookie()] = append(found[h.ID.Cookie()], *h)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// halfClose shuts the client's side of a connection, and waits until both ends are half-closed.
func (at place) halfClose(tb testing.TB, pair nstest.Pair) {
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

// sometime tries until try finds nothing to complain of. The kernel does not call a program at every change of
// state, the less so the busier the machine is, so a single try proves nothing: ten do.
func sometime(t *testing.T, try func(t *testing.T) string) {
	t.Helper()
	complaint := ""
	for range 10 {
		if complaint = try(t); complaint == "" {
			return
		}
		t.Logf("trying again: %s", complaint)
	}
	t.Error(complaint)
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
