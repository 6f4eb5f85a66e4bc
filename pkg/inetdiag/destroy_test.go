// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// outcome has the results of recv and of send, each as the first call on its socket.
type outcome struct{ recv, send error }

func recvOf(c *net.TCPConn) error {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return rootOf(err)
}

func sendOf(c *net.TCPConn) error {
	_, err := c.Write([]byte("x"))
	return rootOf(err)
}

// rootOf returns the errno in an error, or io.EOF, or the error.
func rootOf(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return err
}

func TestDestroyHasTheDocumentedEffectOnOwnerAndPeer(t *testing.T) {
	for _, tt := range []struct {
		state       inetdiag.State
		owner, peer outcome
	}{
		{
			state: inetdiag.CloseWait,
			owner: outcome{recv: io.EOF, send: unix.ECONNABORTED},
			peer:  outcome{recv: unix.ECONNRESET, send: unix.ECONNRESET},
		},
		{
			state: inetdiag.FinWait2,
			owner: outcome{recv: unix.ECONNABORTED, send: unix.ECONNABORTED},
			peer:  outcome{recv: io.EOF, send: unix.EPIPE},
		},
	} {
		for _, network := range nstest.Networks {
			t.Run(tt.state.String()+" "+network, func(t *testing.T) {
				ns := nstest.New(t)
				c := open(t, ns)
				destroyed := func() (owner, peer *net.TCPConn) {
					p := ns.Connect(t, network)
					halfClose(t, c, p)
					owner, peer = p.Server, p.Client
					if tt.state == inetdiag.FinWait2 {
						owner, peer = p.Client, p.Server
					}
					s, other := socketOf(t, c, owner), socketOf(t, c, peer)
					if s.State != tt.state || s.ID.Mapped() != (network == nstest.Mapped) {
						t.Fatalf("%v is in %v", s.ID, s.State)
					}
					if err := c.Destroy(s.ID); err != nil {
						t.Fatal(err)
					}
					if err := c.Destroy(s.ID); !errors.Is(err, inetdiag.ErrGone) {
						t.Errorf("destroy again: %v, want %v", err, inetdiag.ErrGone)
					}
					if _, err := c.Lookup(s.ID); !errors.Is(err, inetdiag.ErrGone) {
						t.Errorf("look up: %v, want %v", err, inetdiag.ErrGone)
					}
					awaitGone(t, c, other.ID)
					return owner, peer
				}
				// The first call consumes the pending error, so each call gets its own connection.
				owner, peer := destroyed()
				got := map[string]outcome{"owner": {recv: recvOf(owner)}, "peer": {recv: recvOf(peer)}}
				owner, peer = destroyed()
				got["owner"] = outcome{got["owner"].recv, sendOf(owner)}
				got["peer"] = outcome{got["peer"].recv, sendOf(peer)}

				want := map[string]outcome{"owner": tt.owner, "peer": tt.peer}
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{}), cmp.Comparer(sameError)); diff != "" {
					t.Errorf("results of owner and peer (-want +got):\n%s", diff)
				}
				if left := dump(t, c, everything()); len(left) != 0 {
					t.Errorf("remaining sockets: %v", left)
				}
			})
		}
	}
}

// sameError compares errors of rootOf, of a lookup and of a destroy.
func sameError(a, b error) bool { return errors.Is(a, b) && errors.Is(b, a) }

func TestAStaleCookieHasNoEffect(t *testing.T) {
	for _, network := range nstest.Networks {
		t.Run(network, func(t *testing.T) {
			ns := nstest.New(t)
			c := open(t, ns)
			p := ns.Connect(t, network)
			id := socketOf(t, c, p.Client).ID
			stale := withCookie(id, id.Cookie()+1000)
			if _, err := c.Lookup(stale); !errors.Is(err, inetdiag.ErrGone) {
				t.Errorf("look up: %v, want %v", err, inetdiag.ErrGone)
			}
			if err := c.Destroy(stale); !errors.Is(err, inetdiag.ErrGone) {
				t.Errorf("destroy: %v, want %v", err, inetdiag.ErrGone)
			}
			assertWorks(t, p)
		})
	}
}

func TestAnIDWithoutACookieIsRefused(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	p := ns.Connect(t, nstest.IPv4)
	id := socketOf(t, c, p.Client).ID
	for _, tt := range []struct {
		name string
		id   inetdiag.ID
	}{
		{"zero", withCookie(id, 0)},
		{"INET_DIAG_NOCOOKIE", withCookie(id, ^uint64(0))},
		{"no family", inetdiag.NewID(0, id.Local(), id.Peer(), 0, id.Cookie())},
		{"another protocol's family", inetdiag.NewID(unix.AF_UNIX, id.Local(), id.Peer(), 0, id.Cookie())},
		{"no ID at all", inetdiag.ID{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := c.Lookup(tt.id); !errors.Is(err, inetdiag.ErrBadID) {
				t.Errorf("look up: %v, want %v", err, inetdiag.ErrBadID)
			}
			if err := c.Destroy(tt.id); !errors.Is(err, inetdiag.ErrBadID) {
				t.Errorf("destroy: %v, want %v", err, inetdiag.ErrBadID)
			}
			assertWorks(t, p)
		})
	}
}

func withCookie(id inetdiag.ID, cookie uint64) inetdiag.ID {
	family := id.Family()
	return inetdiag.NewID(family, id.Local(), id.Peer(), id.Interface(), cookie)
}

func TestAnotherConnectionWithTheSameAddressesSurvives(t *testing.T) {
	ns := nstest.New(t)
	c := open(t, ns)
	l := ns.Listen(t, nstest.IPv4)
	connect := func(from *net.TCPAddr) nstest.Pair {
		var (
			client *net.TCPConn
			err    error
		)
		ns.Do(t, func() { client, err = net.DialTCP("tcp4", from, l.Addr().(*net.TCPAddr)) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		server, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		return nstest.Pair{Client: client, Server: server}
	}
	old := connect(nil)
	oldIDs := []inetdiag.ID{socketOf(t, c, old.Client).ID, socketOf(t, c, old.Server).ID}
	from := old.Client.LocalAddr().(*net.TCPAddr)
	if err := c.Destroy(oldIDs[0]); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, c, oldIDs[1]) // by the reset
	old.Client.Close()
	old.Server.Close()

	taken := connect(from)
	id := socketOf(t, c, taken.Client).ID
	if id.Local() != oldIDs[0].Local() || id.Peer() != oldIDs[0].Peer() || id.Cookie() == oldIDs[0].Cookie() {
		t.Fatalf("the new connection is %v, want the addresses of %v and another cookie", id, oldIDs[0])
	}
	for _, stale := range oldIDs {
		if _, err := c.Lookup(stale); !errors.Is(err, inetdiag.ErrGone) {
			t.Errorf("look up %v: %v, want %v", stale, err, inetdiag.ErrGone)
		}
		if err := c.Destroy(stale); !errors.Is(err, inetdiag.ErrGone) {
			t.Errorf("destroy %v: %v, want %v", stale, err, inetdiag.ErrGone)
		}
	}
	assertWorks(t, taken)
}
