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

// container is where this program is on a machine.
const container = "/opt/container"

// report is what a container says of itself.
type report struct {
	Leak testnode.Conn // a connection's server side, in CLOSE_WAIT
	Live testnode.Conn // that of a connection which is open in both directions
	Busy testnode.Conn // that of a connection which is in CLOSE_WAIT too, and on which a byte is written ten times a second
}

// runContainer is a container's process: in its own network namespace it leaks one connection and uses
// two others. It writes a byte to the leak and to the open one when it is asked to, says what came of it, and ends with its stdin.
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

// makeBusy makes a connection whose client has shut its direction and reads what its server goes on writing.
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
				return // the test sees the connection gone
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

// pair makes a connection. Its server asks for a sign of life every second: the acknowledgements keep the
// kernel from proving more than a second of a half-closed connection's age.
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

// process is a container's process as a test sees it.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
	report
}

// startContainer starts a container's process by a command that runs this program, with start, which may do so
// in a namespace. It ends with the test.
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
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) { // the latter of a user who is nobody here
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
			t.Errorf("the container ended: %v", err)
		}
	})
	p.out = json.NewDecoder(out)
	if err := p.out.Decode(&p.report); err != nil {
		t.Fatalf("the container says nothing of itself: %v", err)
	}
	return p
}

// write has the container write to its two connections, and returns what came of it: "ok" or an errno's name.
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
