// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"net"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// control runs fn on a connection's descriptor.
func control(tb testing.TB, c *net.TCPConn, fn func(fd int) error) {
	tb.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = fn(int(fd)) }); cerr != nil || err != nil {
		tb.Fatal(cerr, err)
	}
}

// fill writes until the buffers are full, so that some bytes stay unacknowledged.
func fill(tb testing.TB, c *net.TCPConn) {
	tb.Helper()
	if err := c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		tb.Fatal(err)
	}
	for block := make([]byte, 1<<20); ; {
		if _, err := c.Write(block); os.IsTimeout(err) {
			return
		} else if err != nil {
			tb.Fatal(err)
		}
	}
}

// kinds has the kinds of sockets: each creates a pair for halfClose.
var kinds = []struct {
	name string
	make func(t *testing.T, at testNetns) nstest.Pair
}{
	{"IPv4", func(t *testing.T, at testNetns) nstest.Pair { return at.Connect(t, nstest.IPv4) }},
	{"IPv6", func(t *testing.T, at testNetns) nstest.Pair { return at.Connect(t, nstest.IPv6) }},
	{"v4-mapped", func(t *testing.T, at testNetns) nstest.Pair { return at.Connect(t, nstest.Mapped) }},
	{"bound to a device", func(t *testing.T, at testNetns) nstest.Pair {
		pair := at.Connect(t, nstest.IPv4)
		for _, c := range []*net.TCPConn{pair.Client, pair.Server} {
			control(t, c, func(fd int) error { return unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo") })
		}
		return pair
	}},
	{"of another user", func(t *testing.T, at testNetns) nstest.Pair {
		pair := at.Connect(t, nstest.IPv4)
		control(t, pair.Server, func(fd int) error { return unix.Fchown(fd, 4242, -1) })
		return pair
	}},
	{"with unread bytes at both ends", func(t *testing.T, at testNetns) nstest.Pair {
		pair := at.Connect(t, nstest.IPv4)
		for c, text := range map[*net.TCPConn]string{pair.Client: "question", pair.Server: "the answer"} {
			if _, err := c.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		return pair
	}},
	{"with bytes read", func(t *testing.T, at testNetns) nstest.Pair {
		pair := at.Connect(t, nstest.IPv6)
		if _, err := pair.Client.Write([]byte("question")); err != nil {
			t.Fatal(err)
		}
		if _, err := pair.Server.Read(make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		return pair
	}},
	{"with unacknowledged bytes", func(t *testing.T, at testNetns) nstest.Pair {
		pair := at.Connect(t, nstest.IPv4)
		fill(t, pair.Server)
		return pair
	}},
	{"MPTCP fallen back to TCP", func(t *testing.T, at testNetns) nstest.Pair { return at.ConnectMPTCP(t, true, false) }},
	{"not accepted yet", func(t *testing.T, at testNetns) nstest.Pair {
		l := at.Listen(t, nstest.IPv4)
		return nstest.Pair{Client: at.Dial(t, nstest.IPv4, l.Addr().(*net.TCPAddr).Port)}
	}},
	{"reconnected", func(t *testing.T, at testNetns) nstest.Pair {
		pair, again := at.Connect(t, nstest.IPv4), at.Listen(t, nstest.IPv4)
		at.halfClose(t, pair)
		control(t, pair.Client, func(fd int) error {
			if err := disconnect(fd); err != nil {
				return err
			}
			to := again.Addr().(*net.TCPAddr)
			err := unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())})
			if err == unix.EINPROGRESS {
				return nil
			}
			return err
		})
		server, err := again.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		pair.Server.Close()
		nstest.Eventually(t, patience, "the first connection closed", func() bool { return len(at.sockets(t)) == 0 })
		return nstest.Pair{Client: pair.Client, Server: server}
	}},
}

// fields has a socket's name, and the fields that its history and verdict need.
type fields struct {
	ID                         string
	State, InfoState           string
	RQueue, WQueue, UID, Inode uint32
	ULP                        string
	BytesAcked, BytesReceived  uint64
	SegsIn                     uint32
	HasInfo                    bool
}

func fieldsOf(s *inetdiag.Socket) fields {
	return fields{
		ID: s.ID.String(), State: s.State.String(), InfoState: s.Info.State.String(),
		RQueue: s.RQueue, WQueue: s.WQueue, UID: s.UID, Inode: s.Inode, ULP: s.ULP,
		BytesAcked: s.Info.BytesAcked, BytesReceived: s.Info.BytesReceived, SegsIn: s.Info.SegsIn, HasInfo: s.HasInfo,
	}
}

func TestProgramsReportTheSameFieldsAsSockDiag(t *testing.T) {
	p := load(t, bpf.Options{})
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			sometime(t, func(t *testing.T) string {
				at := newNetns(t)
				watch(t, p, at)
				at.halfClose(t, kind.make(t, at))
				set := compare(t, at, "the set", true, func() map[uint64]bpf.Socket { return entries(t, p) })
				if walk := compare(t, at, "the walk", false, func() map[uint64]bpf.Socket { return walked(t, p) }); walk != "" {
					t.Error(walk)
				}
				return set
			})
		})
	}
}

func walked(tb testing.TB, p *bpf.Programs) map[uint64]bpf.Socket {
	tb.Helper()
	found := make(map[uint64]bpf.Socket)
	for cookie, h := range walk(tb, p) {
		found[cookie] = h[0].Socket
	}
	return found
}

// compare compares the programs' sockets with sock_diag's and returns the difference. The kernel may probe a peer between
// the two reads, so compare retries. all is true for the set: a walk reports only the sockets that processes own.
func compare(t *testing.T, at testNetns, name string, all bool, read func() map[uint64]bpf.Socket) string {
	t.Helper()
	var diff string
	soon(func() bool {
		want, got := make(map[uint64]fields), make(map[uint64]fields)
		diag, now := at.sockets(t), nstest.Clock(t).Now()
		for cookie, s := range diag {
			if all || s.Inode != 0 && s.ULP != "mptcp" {
				want[cookie] = fieldsOf(&s)
			}
		}
		for cookie, s := range read() {
			got[cookie] = fieldsOf(&s.Socket)
			if s.Netns != at.cookie {
				t.Errorf("%s has netns %d for a socket in %d", name, s.Netns, at.cookie)
			}
			if d, ok := diag[cookie]; ok {
				sameMoment(t, name+": last ACK", now.Add(-d.Info.LastAckRecv), s.At.Add(-s.Info.LastAckRecv))
				sameMoment(t, name+": last data", now.Add(-d.Info.LastDataRecv), s.At.Add(-s.Info.LastDataRecv))
			}
		}
		diff = cmp.Diff(want, got)
		return diff == ""
	})
	if diff != "" {
		diff = name + " differs from sock_diag (-want +got):\n" + diff
	}
	return diff
}

// sameMoment compares two times, which differ by ticks and by the delay between the reads on a busy machine.
func sameMoment(t *testing.T, what string, want, got monotime.Time) {
	t.Helper()
	if d := got.Sub(want).Abs(); d > time.Second {
		t.Errorf("%s: %v from that of sock_diag", what, d)
	}
}

// disconnect dissolves a connection by connect(2) to AF_UNSPEC.
func disconnect(fd int) error {
	var to unix.RawSockaddr // AF_UNSPEC is 0
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&to)), unsafe.Sizeof(to))
	if errno != 0 {
		return errno
	}
	return nil
}
