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
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func TestTheWalkSaysWhoHoldsASocketAndByWhichDescriptor(t *testing.T) {
	if !bpf.SeesAllProcesses() {
		t.Skip("the process ids that the kernel has are not ours: not in the machine's first pid namespace")
	}
	p, at := load(t, bpf.Options{}), newPlace(t)
	watch(t, p, at)
	pair := at.Connect(t, nstest.IPv4)
	at.halfClose(t, pair)
	walk(t, p) // for what the program was not called for
	cookie := byState(entries(t, p))[inetdiag.CloseWait]
	share := shareWithChild(t, pair.Server)

	var want int
	control(t, pair.Server, func(fd int) error { want = fd; return nil })
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	mine := bpf.Holding{PID: os.Getpid(), TID: os.Getpid(), FD: want, Command: strings.TrimSpace(string(comm))}
	theirs := bpf.Holding{PID: share, TID: share, FD: 3, Command: "cat"}
	for _, h := range walk(t, p)[cookie] {
		switch h.Socket = (bpf.Socket{}); h {
		case mine:
			mine.PID = 0
		case theirs:
			theirs.PID = 0
		default:
			t.Errorf("a holding that is none, or found twice: %+v", h)
		}
	}
	if mine.PID != 0 || theirs.PID != 0 {
		t.Errorf("not found: %+v and %+v", mine, theirs)
	}
}

// shareWithChild starts a process that has the socket as descriptor 3, and returns its id.
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

func TestHoldersAreFoundOfSocketsInAnyStateAndNamespace(t *testing.T) {
	p, at := load(t, bpf.Options{}), newPlace(t)
	established := at.Connect(t, nstest.IPv6)
	closed := at.Connect(t, nstest.IPv4)
	control(t, closed.Server, disconnect)
	inodes := make(map[uint32]string)
	for name, c := range map[string]*net.TCPConn{"established": established.Client, "closed": closed.Server} {
		control(t, c, func(fd int) error { inodes[inodeOf(t, fd)] = name; return nil })
	}
	err := p.Holders(func(h *bpf.Holder) error {
		if h.Command != "" && h.FD > 2 && (h.PID == os.Getpid() || !bpf.SeesAllProcesses()) {
			delete(inodes, h.Inode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(inodes) != 0 {
		t.Errorf("no holder of %v", inodes)
	}
}

func TestAHolderIsTheThreadWhoseTableItIs(t *testing.T) {
	p, at := load(t, bpf.Options{}), newPlace(t)
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
		if err := p.Holders(func(h *bpf.Holder) error {
			if h.Inode == inode {
				got[h.TID] = h.FD
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	want := map[int]int{os.Getpid(): descriptor, own: descriptor}
	if !bpf.SeesAllProcesses() { // the programs know threads by their numbers in the first PID namespace
		if len(got) != len(want) {
			t.Errorf("%d threads, want %d", len(got), len(want))
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("descriptors by thread (-want +got):\n%s", diff)
	}
}
