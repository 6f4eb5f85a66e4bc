// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
)

// container is the path of this program on a machine.
const container = "/opt/container"

// report has the addresses of a container's sockets, each the server's end of a connection.
type report struct {
	Leak testnode.Conn // in CLOSE_WAIT, and idle
	Live testnode.Conn // open in both directions
	Busy testnode.Conn // in CLOSE_WAIT, and sends a byte ten times a second
}

// runContainer is the process of a container: in its network namespace it leaks one connection and uses two others. For
// each line on stdin it writes a byte to the leak and to the open connection and reports the results. It exits at EOF.
func runContainer() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil && lo.Attrs().Flags&net.FlagUp == 0 {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	peer, leak, err := pair()
	if err != nil {
		return err
	}
	if err := peer.CloseWrite(); err != nil {
		return err
	}
	livePeer, live, err := pair()
	if err != nil {
		return err
	}
	busy, err := makeBusy()
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(report{Leak: testnode.ConnOf(leak), Live: testnode.ConnOf(live), Busy: testnode.ConnOf(busy)}); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		_, leakErr := leak.Write([]byte("x"))
		_, liveErr := live.Write([]byte("x"))
		if liveErr == nil {
			_, liveErr = io.ReadFull(livePeer, make([]byte, 1))
		}
		if err := out.Encode([]string{result(leakErr), result(liveErr)}); err != nil {
			return err
		}
	}
	return nil
}

// makeBusy opens a connection whose client has shut its direction, and reads what the server keeps writing.
func makeBusy() (server *net.TCPConn, err error) {
	client, server, err := pair()
	if err == nil {
		err = client.CloseWrite()
	}
	if err != nil {
		return nil, err
	}
	go func() { _, _ = io.Copy(io.Discard, client) }() // until the process exits
	go func() {
		for range time.Tick(100 * time.Millisecond) {
			if _, err := server.Write([]byte("x")); err != nil {
				return // the test notices that the connection is gone
			}
		}
	}()
	return server, nil
}

func result(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// pair opens a connection. Its server sends a keepalive probe every second: because of the acknowledgements, the kernel
// proves no more than one second of a half-closed connection's age.
func pair() (client, server *net.TCPConn, err error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 100}}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	d := net.Dialer{KeepAlive: -1}
	d.SetMultipathTCP(false)
	c, err := d.Dial("tcp4", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	s, err := l.Accept()
	if err != nil {
		return nil, nil, err
	}
	return c.(*net.TCPConn), s.(*net.TCPConn), nil
}

// process is a container's process, for a test.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
	report
}

// startContainer starts a container's process. cmd runs this program; start starts cmd, and may do that in a namespace. The
// process exits when the test ends.
func startContainer(t *testing.T, cmd *exec.Cmd, start func() error) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd}
	cmd.Env = append(cmd.Env, roleVar+"=container")
	cmd.Stderr = t.Output()
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = start()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) { // EINVAL: the user namespace has no such user
		nstest.NeedPrivilege(t, "start a container's process as another user", err)
	}
	if err != nil {
		t.Fatalf("start a container's process: %v", err)
	}
	t.Cleanup(func() {
		p.in.Close()
		late := time.AfterFunc(testnode.Patience, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the container exited: %v", err)
		}
	})
	p.out = json.NewDecoder(out)
	if err := p.out.Decode(&p.report); err != nil {
		t.Fatalf("the container sends no report: %v", err)
	}
	return p
}

// write makes the container write to two of its connections, and returns the results: "ok" or the name of an errno.
func (p *process) write() (leak, live string) {
	p.t.Helper()
	var results [2]string
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		p.t.Fatal(err)
	}
	if err := p.out.Decode(&results); err != nil {
		p.t.Fatal(err)
	}
	return results[0], results[1]
}
