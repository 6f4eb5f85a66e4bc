// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
)

// pendingPolicy has a pendingGrace that is longer than the grace. The peers, which are alive, are not asked.
const pendingPolicy = `{"probeAfter": "never", "grace": "1s", "pendingGrace": "3s"}`

// TestBothEndsOfAZeroWindowAreDestroyedAfterPendingGrace has a server that writes to a client that does not read. Both
// are registered.
func TestBothEndsOfAZeroWindowAreDestroyedAfterPendingGrace(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := newReaper(t, finder), newScene(t)
		r.register(s.near, "server", pendingPolicy)
		r.register(s.far, "client", pendingPolicy)
		stuck, empty := s.leftByClient(), s.leftByClient()
		control(t, stuck.Server, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20) })
		if written := fill(t, stuck.Server); written < 3800<<10 {
			t.Errorf("the server's socket has taken no more than %d bytes", written)
		}
		// Either end of the other connection may be destroyed first, and its reset closes the other end.
		awaitState(t, closed, empty.Server, empty.Client)
		awaitState(t, closed, stuck.Server, stuck.Client)
		spared := 0
		for _, c := range []*net.TCPConn{stuck.Server, stuck.Client} {
			e, ok := r.entry(c, api.Destroyed) // its reset may have closed the other one
			if !ok {
				continue
			}
			if spared++; time.Duration(e.Idle) < 3*time.Second {
				t.Errorf("%v was destroyed after it was idle for %v", e.Local, time.Duration(e.Idle))
			}
		}
		if spared == 0 {
			t.Error("neither end is in the history")
		}
	})
}

// TestHalfReadBodyIsSparedUntilPendingGrace has owners that stop reading in the middle of a body while their peers are
// alive.
func TestHalfReadBodyIsSparedUntilPendingGrace(t *testing.T) {
	const body = 64 << 10
	eachFinder(t, func(t *testing.T, finder string) {
		for name, tt := range map[string]struct {
			state uint8
			shut  func(nstest.Pair) *net.TCPConn // whose sending side is shut: the client's socket is judged
		}{
			"in CLOSE_WAIT": {closeWait, func(p nstest.Pair) *net.TCPConn { return p.Server }},
			"in FIN_WAIT2":  {finWait2, func(p nstest.Pair) *net.TCPConn { return p.Client }},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r, s := newReaper(t, finder), newScene(t)
				r.register(s.near, "client", pendingPolicy)
				half, read, reading := s.connect(), s.connect(), s.connect()
				for _, p := range []nstest.Pair{half, read, reading} {
					if _, err := p.Server.Write(make([]byte, body)); err != nil {
						t.Fatal(err)
					}
					if err := tt.shut(p).CloseWrite(); err != nil {
						t.Fatal(err)
					}
					awaitState(t, tt.state, p.Client)
				}
				take(t, half.Client, body/2)
				take(t, read.Client, body)
				stop := make(chan struct{})
				stopped := make(chan struct{})
				go func() { // continues to read, a little at a time
					defer close(stopped)
					for tick := time.NewTicker(100 * time.Millisecond); ; {
						select {
						case <-stop:
							return
						case <-tick.C:
							if _, err := reading.Client.Read(make([]byte, 16)); err != nil {
								t.Errorf("the one that reads on: %v", err)
								return
							}
						}
					}
				}()
				t.Cleanup(func() { <-stopped })
				r.awaitEntry(read.Client, api.Destroyed)
				e := r.awaitEntry(half.Client, api.Destroyed)
				if idle := time.Duration(e.Idle); idle < 3*time.Second || e.RQueue < body/2 {
					t.Errorf("destroyed after it was idle for %v, with %d bytes unread", idle, e.RQueue)
				}
				r.untouched(tt.state, reading.Client)
				close(stop)
			})
		}
	})
}

// take reads exactly n bytes.
func take(t *testing.T, c *net.TCPConn, n int64) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if got, err := io.CopyN(io.Discard, c, n); err != nil {
		t.Fatalf("read %d of %d bytes: %v", got, n, err)
	}
	_ = c.SetReadDeadline(time.Time{})
}

// fill writes until the socket accepts no more bytes, and returns their number.
func fill(t *testing.T, c *net.TCPConn) (written int) {
	t.Helper()
	for block := make([]byte, 64<<10); ; {
		_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := c.Write(block)
		written += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return written
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
