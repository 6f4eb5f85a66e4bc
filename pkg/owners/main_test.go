// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/owners"
)

// envRole selects a role, which the test binary runs as a child process.
const envRole = "_HALFCLOSE_OWNERS_ROLE"

func init() {
	if os.Getenv(envRole) != "" {
		runtime.LockOSThread() // the role starts on the main thread
	}
}

func TestMain(m *testing.M) {
	role, ok := map[string]func() error{
		"receiver": receive, "apart": searchApart, "threaded": holdInThread, "leaderless": holdWithoutMainThread,
		"confine": confine, "confined": readConfined,
	}[os.Getenv(envRole)]
	if !ok {
		os.Exit(nstest.Main(m))
	}
	if err := role(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// play returns a command that runs this binary in a role.
func play(role string, sockets ...socket) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	cmd := command(self, sockets...)
	cmd.Env = append(os.Environ(), envRole+"="+role)
	return cmd
}

// pass starts a process in the namespace, and passes a socket to it.
func pass(tb testing.TB, ns *nstest.NS, s socket) process {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), "mine"), os.NewFile(uintptr(fds[1]), "theirs")
	defer mine.Close()
	p := start(tb, ns, play("receiver", socket{File: theirs}))
	theirs.Close()
	err = unix.Sendmsg(fds[0], []byte("x"), unix.UnixRights(int(s.Fd())), nil, 0)
	if err == nil {
		_, err = unix.Read(fds[0], make([]byte, 1)) // the process has received it
	}
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// receive receives a descriptor over the unix socket that is descriptor 3, and keeps it open.
func receive() error {
	conn, err := net.FileConn(os.NewFile(3, "sender"))
	if err != nil {
		return err
	}
	control := make([]byte, unix.CmsgSpace(4))
	if _, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), control); err != nil || n == 0 {
		return fmt.Errorf("no descriptor: %w", err)
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// searchApart searches for owners of socket 1, which has none, in another PID namespace.
func searchApart() error {
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	var netns uint64
	if _, err := fmt.Sscan(os.Getenv("NETNS"), &netns); err != nil {
		return err
	}
	_, err := owners.NewProc("/proc").Find(context.Background(), owners.Query{
		Inodes: map[uint32]struct{}{1: {}}, Netns: map[uint64]struct{}{netns: {}}, Scope: owners.NetnsProcessesFirst,
	})
	fmt.Println(err)
	return nil
}

// holdInThread keeps descriptor 3 open in the table of one thread only, and writes the TID of that thread.
func holdInThread() error {
	tid := make(chan int)
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		failed <- unix.Unshare(unix.CLONE_FILES)
		tid <- unix.Gettid()
		select {}
	}()
	if err := <-failed; err != nil {
		return err
	}
	in := <-tid
	if err := unix.Close(3); err != nil {
		return err
	}
	fmt.Println(in)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// holdWithoutMainThread writes the PID and exits the main thread.
func holdWithoutMainThread() error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(unix.Gettid())
	_, _, errno := unix.Syscall(unix.SYS_EXIT, 0, 0, 0) // no RawSyscall, which would keep the only P of one CPU
	return errno
}

// confine runs "confined" in the cgroup CGROUP as the root of a cgroup namespace, and with HIDE set, without the mount of its
// hierarchy.
func confine() error {
	if os.Getenv("HIDE") != "" {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
	}
	if err := os.WriteFile(os.Getenv("CGROUP")+"/cgroup.procs", []byte("0"), 0); err != nil {
		return err
	}
	if os.Getenv("HIDE") != "" {
		if err := unix.Unmount(filepath.Dir(os.Getenv("CGROUP")), unix.MNT_DETACH); err != nil {
			return err
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(envRole, "confined"); err != nil {
		return err
	}
	return unix.Exec(self, os.Args, os.Environ())
}

// readConfined writes the pause of process PID. INIT stands for process 1.
func readConfined() error {
	var pid, init int
	if _, err := fmt.Sscan(os.Getenv("PID")+" "+os.Getenv("INIT"), &pid, &init); err != nil {
		return err
	}
	if init == 0 {
		init = os.Getpid()
	}
	p := owners.NewProc("/proc")
	p.SetInit(init)
	found, err := p.Conditions(context.Background(), []int{pid})
	fmt.Println(found[pid].Pause, found[pid].Err)
	return err
}
