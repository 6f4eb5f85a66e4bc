// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/thread"
	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// inInitialPIDNS reports whether the test is in the initial PID namespace.
func inInitialPIDNS() bool { return hostfs.NamespaceInode("/proc/self/ns/pid") == hostfs.InitialPIDNS }

func TestWalkReportsTheProcessesThatOwnASocketAndTheirDescriptors(t *testing.T) {
	if !inInitialPIDNS() {
		t.Skip("the programs report PIDs of the initial PID namespace, and the test is in another one")
	}
	p, at := load(t, bpf.Options{}), newNetns(t)
	watch(t, p, at)
	pair := at.Connect(t, nstest.IPv4)
	at.halfClose(t, pair)
	walk(t, p) // adds the sockets that the program missed
	cookie := byState(entries(t, p))[inetdiag.CloseWait]
	child := shareWithChild(t, pair.Server)

	var want int
	control(t, pair.Server, func(fd int) error { want = fd; return nil })
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	own := bpf.OwnedSocket{PID: os.Getpid(), TID: os.Getpid(), FD: want, Command: strings.TrimSpace(string(comm))}
	childs := bpf.OwnedSocket{PID: child, TID: child, FD: 3, Command: "cat"}
	for _, s := range walk(t, p)[cookie] {
		switch s.Socket = (bpf.Socket{}); s {
		case own:
			own.PID = 0
		case childs:
			childs.PID = 0
		default:
			t.Errorf("unknown, or reported twice: %+v", s)
		}
	}
	if own.PID != 0 || childs.PID != 0 {
		t.Errorf("not reported: %+v and %+v", own, childs)
	}
}

// shareWithChild starts a process that has the socket as descriptor 3, and returns its PID.
func shareWithChild(t *testing.T, c *net.TCPConn) int {
	t.Helper()
	file, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	child := exec.Command("cat")
	child.ExtraFiles = []*os.File{file}
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := child.Wait(); err != nil {
			t.Errorf("cat: %v", err)
		}
	})
	if _, err := in.Write([]byte("running\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return child.Process.Pid
}

func TestDescriptorsReportsSocketsInAnyStateAndNamespace(t *testing.T) {
	p, at := load(t, bpf.Options{}), newNetns(t)
	established := at.Connect(t, nstest.IPv6)
	closed := at.Connect(t, nstest.IPv4)
	control(t, closed.Server, disconnect)
	inodes := make(map[uint32]string)
	for name, c := range map[string]*net.TCPConn{"established": established.Client, "closed": closed.Server} {
		control(t, c, func(fd int) error { inodes[inodeOf(t, fd)] = name; return nil })
	}
	err := p.Descriptors(func(d *bpf.Descriptor) error {
		if d.Command != "" && d.FD > 2 && (d.PID == os.Getpid() || !inInitialPIDNS()) {
			delete(inodes, d.Inode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(inodes) != 0 {
		t.Errorf("no descriptor of %v", inodes)
	}
}

func TestDescriptorsReportsTheThreadThatOwnsTheTable(t *testing.T) {
	p, at := load(t, bpf.Options{}), newNetns(t)
	pair := at.Connect(t, nstest.IPv4)
	var inode uint32
	descriptor := -1
	control(t, pair.Client, func(fd int) error { inode, descriptor = inodeOf(t, fd), fd; return nil })
	got := make(map[int]int) // descriptor by thread
	var own int
	thread.Discard(func() {
		if err := unix.Unshare(unix.CLONE_FILES); err != nil {
			t.Error(err)
		}
		own = unix.Gettid()
		if err := p.Descriptors(func(d *bpf.Descriptor) error {
			if d.Inode == inode {
				got[d.TID] = d.FD
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	want := map[int]int{os.Getpid(): descriptor, own: descriptor}
	if !inInitialPIDNS() { // the programs report TIDs of the initial PID namespace
		if len(got) != len(want) {
			t.Errorf("%d threads, want %d", len(got), len(want))
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("descriptors by thread (-want +got):\n%s", diff)
	}
}
