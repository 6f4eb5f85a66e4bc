// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

func TestAnAnswerAboutAnotherSocketMeansGone(t *testing.T) {
	asked := testID(unix.AF_INET, 7)
	other := func(edit func(*ID)) ID { id := asked; edit(&id); return id }
	for name, answer := range map[string]ID{
		"family": other(func(id *ID) { id.family = unix.AF_INET6 }),
		"cookie": testID(unix.AF_INET, 8),
		"port":   other(func(id *ID) { id.sockid[offSport]++ }),
		"peer":   other(func(id *ID) { id.sockid[offDst]++ }),
	} {
		c := &Conn{t: &script{answer: func(m message) [][]byte {
			return [][]byte{socketMessage(typeByFamily, m.seq, answer, CloseWait)}
		}}}
		if _, err := c.Lookup(asked); !errors.Is(err, ErrGone) {
			t.Errorf("another %s: %v, want %v", name, err, ErrGone)
		}
	}
	bound := other(func(id *ID) { id.sockid[offIf]++ })
	c := &Conn{t: &script{answer: func(m message) [][]byte {
		return [][]byte{socketMessage(typeByFamily, m.seq, bound, CloseWait)}
	}}}
	if s, err := c.Lookup(asked); err != nil || s.ID != bound {
		t.Errorf("the same socket with another interface: %v, %v", s.ID, err)
	}
}

// TestALostAnswerMakesTheConnUnusable covers each way to lose an answer: no later answer may count for another request.
func TestALostAnswerMakesTheConnUnusable(t *testing.T) {
	ids := []ID{testID(unix.AF_INET, 1), testID(unix.AF_INET, 2)}
	ok := func(m message) []byte {
		if m.typ == typeDestroy {
			return errnoMessage(unix.NLMSG_ERROR, m.seq, 0)
		}
		id := ID{family: m.data[0], sockid: [sizeofSockID]byte(m.data[8:])}
		return socketMessage(typeByFamily, m.seq, id, CloseWait)
	}
	for _, tt := range []struct {
		name string
		bad  func(m message) [][]byte // the answer to the first request
	}{
		{"no answer", func(message) [][]byte { return nil }},
		{"an answer to an earlier request", func(m message) [][]byte {
			m.seq--
			return [][]byte{ok(m)}
		}},
		{"half a header", func(message) [][]byte { return [][]byte{make([]byte, 8)} }},
		{"a length past the end", func(m message) [][]byte { return [][]byte{ok(m)[:sizeofHeader+2]} }},
		{"an empty datagram", func(message) [][]byte { return [][]byte{{}} }},
		{"an error without an errno", func(m message) [][]byte {
			return [][]byte{appendHeader(nil, unix.NLMSG_ERROR, 0, m.seq, 0)}
		}},
		{"an errno that is none", func(m message) [][]byte {
			b := errnoMessage(unix.NLMSG_ERROR, m.seq, 0)
			b[sizeofHeader+3] = 0x7f
			return [][]byte{b}
		}},
		{"a type that was not asked for", func(m message) [][]byte {
			return [][]byte{socketMessage(77, m.seq, ids[0], CloseWait)}
		}},
		{"lost data", func(m message) [][]byte {
			return [][]byte{appendHeader(nil, unix.NLMSG_OVERRUN, 0, m.seq, 0)}
		}},
	} {
		for _, op := range []struct {
			name string
			do   func(c *Conn, visited *int) error
		}{
			{"look up", func(c *Conn, visited *int) error {
				return c.LookupAll(ids, func(int, *Socket, error) { *visited++ })
			}},
			{"destroy", func(c *Conn, visited *int) error {
				return c.DestroyAll(ids, nil, func(int, error) { *visited++ })
			}},
			{"dump", func(c *Conn, visited *int) error {
				return c.Dump(Filter{States: HalfClosed}, func(*Socket) error { *visited++; return nil })
			}},
		} {
			t.Run(tt.name+" to "+op.name, func(t *testing.T) {
				s := &script{}
				s.answer = func(m message) [][]byte {
					if len(s.sent) == 1 {
						return tt.bad(m)
					}
					return [][]byte{ok(m)}
				}
				c := &Conn{t: s, seq: 100}
				visited := 0
				first := op.do(c, &visited)
				if first == nil || visited != 0 {
					t.Fatalf("got %v after %d visits, want an error and no visit", first, visited)
				}
				sent := len(s.sent)
				if err := op.do(c, &visited); err == nil || visited != 0 || len(s.sent) != sent {
					t.Errorf("next use: %v, %d visits, %d requests; want an error and none of these", err, visited, len(s.sent)-sent)
				}
			})
		}
	}
}

func TestSeveralMessagesInOneDatagramAndPaddingAreRead(t *testing.T) {
	ids := []ID{testID(unix.AF_INET, 1), testID(unix.AF_INET6, 2), testID(unix.AF_INET, 3)}
	s := &script{}
	s.answer = func(m message) [][]byte {
		if len(s.sent) < len(ids) {
			return nil
		}
		datagram := appendHeader(nil, unix.NLMSG_NOOP, 0, 0, 1)
		datagram = append(datagram, 0, 0, 0, 0)
		for i, id := range ids {
			datagram = append(datagram, socketMessage(typeByFamily, s.sent[i].seq, id, FinWait2)...)
		}
		return [][]byte{datagram}
	}
	c := &Conn{t: s}
	if err := c.LookupAll(ids, func(i int, s *Socket, err error) {
		if err != nil || s.ID != ids[i] || s.State != FinWait2 {
			t.Errorf("index %d: %+v, %v", i, s, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// openWithSocket opens a Conn in ns and returns it with its netlink socket.
func openWithSocket(t *testing.T, ns *nstest.NS) (*Conn, *netlinkSocket) {
	t.Helper()
	var (
		c   *Conn
		err error
	)
	ns.Do(t, func() { c, err = Open() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, c.t.(*netlinkSocket)
}

func TestAFullReceiveBufferMakesTheConnUnusable(t *testing.T) {
	ns := nstest.New(t)
	c, s := openWithSocket(t, ns)
	p := ns.Connect(t, nstest.IPv4)
	all, err := allIDs(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		t.Fatal(err)
	}
	many := make([]ID, chunk)
	for i := range many {
		many[i] = all[i%len(all)]
	}
	err = c.LookupAll(many, func(_ int, _ *Socket, err error) {
		if err != nil {
			t.Error(err)
		}
	})
	if !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("got %v, want %v", err, unix.ENOBUFS)
	}
	if err := c.Destroy(all[0]); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("next use: %v, want the same error", err)
	}
	if _, err := p.Client.Write([]byte("x")); err != nil {
		t.Errorf("the connection should survive: %v", err)
	}
}

func allIDs(c *Conn) (ids []ID, err error) {
	err = c.Dump(Filter{States: AllStates}, func(s *Socket) error { ids = append(ids, s.ID); return nil })
	return ids, err
}

func TestReceiveWaitsForALateAnswerAndFailsWithoutOne(t *testing.T) {
	_, s := openWithSocket(t, nstest.New(t))
	if _, err := s.receive(make([]byte, 64)); !errors.Is(err, errNoAnswer) || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %v, want %v", err, errNoAnswer)
	}
}

func TestAnAnswerLongerThanTheBufferIsAnError(t *testing.T) {
	ns := nstest.New(t)
	c, s := openWithSocket(t, ns)
	ns.Connect(t, nstest.IPv4)
	ids, err := allIDs(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.send(appendLookup(nil, 1, &ids[0])); err != nil {
		t.Fatal(err)
	}
	if _, err := s.receive(make([]byte, 64)); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("got %v, want %v", err, unix.EMSGSIZE)
	}
}

// newForger returns a Conn, the ID and the client of a connection in its namespace, and a function that answers a request of
// the Conn from another netlink socket, as if the kernel had destroyed the connection.
func newForger(t *testing.T) (c *Conn, id ID, client *net.TCPConn, forge func(seq uint32)) {
	t.Helper()
	ns := nstest.New(t)
	c, s := openWithSocket(t, ns)
	p := ns.Connect(t, nstest.IPv4)
	ids, err := allIDs(c)
	if err != nil {
		t.Fatal(err)
	}
	_, forger := openWithSocket(t, ns)
	at, err := unix.Getsockname(s.fd)
	if err != nil {
		t.Fatal(err)
	}
	return c, ids[0], p.Client, func(seq uint32) {
		if err := unix.Sendto(forger.fd, errnoMessage(unix.NLMSG_ERROR, seq, 0), 0, at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDatagramsOfOtherProcessesAreIgnored(t *testing.T) {
	c, id, client, forge := newForger(t)
	forge(c.seq + 1)
	missing := id
	missing.sockid[offCookie]++
	if err := c.Destroy(missing); !errors.Is(err, ErrGone) {
		t.Errorf("got %v, want the kernel's %v", err, ErrGone)
	}
	if _, err := c.Lookup(id); err != nil {
		t.Error(err)
	}
	if _, err := client.Write([]byte("x")); err != nil {
		t.Errorf("the connection should survive: %v", err)
	}
}
