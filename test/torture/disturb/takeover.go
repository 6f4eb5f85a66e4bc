// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/torture/model"
)

// holdUpDestroy runs a reaper whose destroys of some leaks wait while another connection, half-closed just now, takes over
// the addresses and ports. It must stay.
func (n *Node) holdUpDestroy(ctx context.Context, name string, times int) (effects []model.Effect, err error) {
	path, remove, err := n.Pods.Site(ctx, name, sitePolicy())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	args, since := n.Reaper.Args(), model.Now()
	var s *inject.Supervisor
	if _, err := n.replaceReaperBy(ctx, 0, func() (err error) {
		s, err = n.Reaper.StartInjected([]uintptr{unix.SYS_WRITE})
		return err
	}); err != nil {
		return nil, err
	}
	var wrong error
	for range times {
		if err := n.takeOver(ctx, s, path); err != nil {
			wrong = err
			break
		}
	}
	_, err = n.replaceReaper(ctx, 0, args...)
	return possibly(since, model.Down), errors.Join(wrong, err, s.Err())
}

// sitePolicy is the policy of a namespace of a disturbance's own connections. A client that has shut its direction does not
// spare its server, as it would with a grace that never ends.
func sitePolicy() model.Policy {
	return model.Policy{
		Mode: model.Destroy, ProbeAfter: model.Never, ProbeCount: 1, ProbeInterval: time.Second,
		CloseWaitGrace: time.Second, FinWait2Grace: time.Hour, PendingGrace: time.Second,
	}
}

// takeOver leaks one connection at the path, and has another take it over while the reaper is about to destroy it.
func (n *Node) takeOver(ctx context.Context, s *inject.Supervisor, path string) error {
	l, err := listenIn(path)
	if err != nil {
		return err
	}
	defer l.Close()
	leak, err := halfCloseIn(ctx, path, l, 0)
	if err != nil {
		return err
	}
	port := leak.clientPort
	var (
		once   sync.Once
		second *halfClosed
		taken  = make(chan error, 1)
	)
	fault := s.Inject(inject.Fault{
		Calls: []uintptr{unix.SYS_WRITE}, Effect: inject.Pass(),
		Where: func(c *inject.Call) bool {
			if !isDestroyOf(c, l.Addr().(*net.TCPAddr).Port, port) {
				return false
			}
			once.Do(func() {
				leak.reset()
				var err error
				second, err = halfCloseIn(ctx, path, l, port)
				taken <- err
			})
			return true
		},
	})
	defer fault.Lift()
	select {
	case err := <-taken:
		if err != nil {
			return err
		}
	case <-time.After(patience):
		leak.reset()
		return &Violation{fmt.Sprintf("missed: the leak of port %d in %s was not destroyed within %v", port, path, patience)}
	case <-ctx.Done():
		leak.reset()
		return ctx.Err()
	}
	defer second.reset()
	// Its grace has just begun; the held-up destroy follows at once.
	if err := sleep(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	stays, err := second.isHalfClosed()
	if err != nil {
		return err
	}
	if half := model.Now() - second.at; !stays && half < time.Second {
		return &Violation{fmt.Sprintf("wrongly destroyed: a connection that took over port %d in %s, %v after it was half-closed", port, path, half)}
	}
	return nil
}

// isDestroyOf reports whether a call sends SOCK_DESTROY for a connection from the client's port to the server's.
func isDestroyOf(c *inject.Call, server, client int) bool {
	const length, typeAt, portsAt = 72, 4, 16 + 8 // struct nlmsghdr, inet_diag_req_v2
	if c.Args[2] != length {
		return false
	}
	b, err := c.Data(1, length)
	if err != nil || binary.NativeEndian.Uint16(b[typeAt:]) != unix.SOCK_DESTROY {
		return false
	}
	local, peer := int(binary.BigEndian.Uint16(b[portsAt:])), int(binary.BigEndian.Uint16(b[portsAt+2:]))
	return local == server && peer == client
}

// halfClosed is a connection on a loopback whose server is in CLOSE_WAIT.
type halfClosed struct {
	client, server *net.TCPConn
	clientPort     int
	at             model.Time
}

// reset closes both ends without TIME_WAIT.
func (h *halfClosed) reset() {
	if h == nil {
		return
	}
	for _, c := range []*net.TCPConn{h.server, h.client} {
		_ = c.SetLinger(0)
		_ = c.Close() // it may have been destroyed
	}
}

// isHalfClosed reports whether the server's socket is in CLOSE_WAIT.
func (h *halfClosed) isHalfClosed() (half bool, err error) {
	raw, err := h.server.SyscallConn()
	if err != nil {
		return false, err
	}
	if e := raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			half = inetdiag.State(info.State) == inetdiag.CloseWait
		}
	}); e != nil {
		return false, e
	}
	return half, err
}

func listenIn(path string) (l net.Listener, err error) {
	err = node.In(path, func() (err error) {
		l, err = net.Listen("tcp4", "127.0.0.1:0")
		return err
	})
	return l, err
}

// halfCloseIn opens a connection at the path from a client's port, 0 for any, and has its client shut its direction.
func halfCloseIn(ctx context.Context, path string, l net.Listener, port int) (h *halfClosed, err error) {
	var client net.Conn
	if err := node.In(path, func() (err error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, KeepAlive: -1}
		d.SetMultipathTCP(false)
		client, err = d.Dial("tcp4", l.Addr().String())
		return err
	}); err != nil {
		return nil, err
	}
	server, err := l.Accept()
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	h = &halfClosed{client: client.(*net.TCPConn), server: server.(*net.TCPConn), clientPort: client.LocalAddr().(*net.TCPAddr).Port, at: model.Now()}
	if err := h.client.CloseWrite(); err != nil {
		h.reset()
		return nil, err
	}
	return h, await(ctx, "the server is in CLOSE_WAIT", func(context.Context) (bool, error) { return h.isHalfClosed() })
}
