// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// seed adds the captured answers to a fuzz test: whole datagrams, or the payload of each message.
func seed(f *testing.F, payload bool) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.bin")
	if err != nil || len(files) == 0 {
		f.Fatalf("find captured answers: %d, %v", len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if !payload {
			f.Add(b)
			continue
		}
		for len(b) > 0 {
			var m message
			if m, b, err = parseMessage(b); err != nil {
				f.Fatal(err)
			}
			f.Add(m.data)
		}
	}
	f.Add([]byte{})
	f.Add(errnoMessage(unix.NLMSG_ERROR, 1, unix.ENOENT))
	f.Add(errnoMessage(unix.NLMSG_DONE, 1, 0))
}

// FuzzParseDatagram reads a datagram as a Conn does.
func FuzzParseDatagram(f *testing.F) {
	seed(f, false)
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			m, rest, err := parseMessage(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) || len(m.data)+sizeofHeader+len(rest) > len(b) {
				t.Fatalf("%d bytes: a message of %d and a rest of %d", len(b), len(m.data), len(rest))
			}
			if errno, err := parseErrno(m); err != nil && errno != 0 {
				t.Fatalf("errno %v and error %v", errno, err)
			}
			checkSocket(t, m.data)
			b = rest
		}
	})
}

// FuzzParseSocket reads an inet_diag_msg and its attributes.
func FuzzParseSocket(f *testing.F) {
	seed(f, true)
	f.Fuzz(checkSocket)
}

func checkSocket(t *testing.T, b []byte) {
	var s Socket
	if err := parseSocket(b, &s); err != nil {
		return
	}
	if s.ID.family != unix.AF_INET && s.ID.family != unix.AF_INET6 {
		t.Fatalf("family is %d", s.ID.family)
	}
	if !s.HasInfo && s.Info != (TCPInfo{}) {
		t.Fatalf("%+v has tcp_info without HasInfo", s)
	}
	// All methods of an ID.
	_, _, _ = s.ID.String(), s.State.String(), s.ID.namesOne()
	raw, err := s.ID.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	var again ID
	if err := again.UnmarshalBinary(raw); err != nil || again != s.ID || !again.sameSocket(&s.ID) {
		t.Fatalf("id %v became %v, %v", s.ID, again, err)
	}
}

// FuzzParseConversation answers each operation with arbitrary datagrams.
func FuzzParseConversation(f *testing.F) {
	seed(f, false)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > recvSize {
			return
		}
		c := &Conn{t: &script{answer: func(message) [][]byte { return [][]byte{b} }}}
		ids := []ID{testID(unix.AF_INET, 1), testID(unix.AF_INET6, 2)}
		for range 2 {
			next := 0
			_ = c.LookupAll(ids, func(i int, s *Socket, err error) {
				if i != next || (s == nil) == (err == nil) {
					t.Fatalf("visit %d has index %d: %v, %v", next, i, s, err)
				}
				if err == nil && !s.ID.sameSocket(&ids[i]) {
					t.Fatalf("requested %v, got %v", ids[i], s.ID)
				}
				next++
			})
			c.err = nil
			_ = c.DestroyAll(ids, nil, func(int, error) {})
			c.err = nil
			_ = c.Dump(Filter{States: AllStates}, func(*Socket) error { return nil })
			c.err = nil
		}
	})
}
