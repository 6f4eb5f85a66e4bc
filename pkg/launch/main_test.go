// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package launch_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/launch/detach"
)

// The test binary is also the plugin, by roleVar, and the reaper, by its first argument.
const (
	roleVar   = "HALFCLOSE_TEST_ROLE"
	socketVar = "HALFCLOSE_TEST_SOCKET" // the socket to which the reaper sends its report
	mountVar  = "HALFCLOSE_TEST_MOUNT"  // fstype:options:directory of a cgroup file system to mount first
	cgroupVar = "HALFCLOSE_TEST_CGROUP" // cgroup.procs of the cgroup to be in
)

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "reaper":
		unix.Exit(reaper()) // not os.Exit, at which the race detector waits for a second
	case os.Getenv(roleVar) == "plugin":
		unix.Exit(plugin())
	}
	// A reaper whose plugin has exited becomes a child of this process.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// report is what a started reaper reports about its process.
type report struct {
	Args          []string
	Env           []string
	Dir           string
	Files         map[int]string // the target of each descriptor
	PID, PGID     int
	SID           int
	BlockedSigs   string
	DetachErr     string
	UmaskAfter    string
	OOMScoreAfter string
	CgroupsBefore string
	CgroupsAfter  string
	Exe, Name     string // Name is after detach.FromRuntime
}

// reaper sends its report to the socket in its environment, and exits when the connection is closed.
func reaper() int {
	files := map[int]string{}
	for fd := range 4096 { // reading /proc/self/fd would open another descriptor
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			files[fd], _ = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		}
	}
	r := report{Args: os.Args, Env: os.Environ(), Files: files, PID: os.Getpid(), PGID: unix.Getpgrp()}
	r.Dir, _ = os.Getwd()
	r.SID, _ = unix.Getsid(0)
	r.BlockedSigs = status("SigBlk")
	r.CgroupsBefore = read("/proc/self/cgroup")
	if os.Getenv(mountVar) != "" { // only a test's own cgroup is left
		if err := detach.FromRuntime(); err != nil {
			r.DetachErr = err.Error()
		}
	}
	r.UmaskAfter = status("Umask")
	r.OOMScoreAfter = read("/proc/self/oom_score_adj")
	r.CgroupsAfter = read("/proc/self/cgroup")
	r.Exe, _ = os.Readlink("/proc/self/exe")
	r.Name = read("/proc/self/comm")
	conn, err := net.Dial("unix", os.Getenv(socketVar))
	if err != nil {
		return 1
	}
	if json.NewEncoder(conn).Encode(r) != nil {
		return 1
	}
	_, _ = io.Copy(conn, conn) // an echo proves that it still runs
	return 0
}

// plugin calls Start with everything that a reaper must not inherit.
func plugin() int {
	fail := func(what string, err error) int {
		fmt.Fprintln(os.Stderr, what, err)
		return 1
	}
	if spec := os.Getenv(mountVar); spec != "" {
		part := strings.Split(spec, ":")
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fail("make mounts private:", err)
		}
		if err := unix.Mount("cgroup", part[2], part[0], 0, part[1]); err != nil {
			return fail("mount "+spec+":", err)
		}
		if err := os.WriteFile(os.Getenv(cgroupVar), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return fail("enter cgroup:", err)
		}
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0); err != nil {
			return fail("set oom_score_adj:", err)
		}
	}
	unix.Umask(0)
	for range 3 { // without close-on-exec
		if _, err := unix.Open(os.Args[0], unix.O_RDONLY, 0); err != nil {
			return fail("open:", err)
		}
	}
	if fd, err := unix.Dup(1); err != nil {
		return fail("dup:", err)
	} else if err := unix.Dup3(fd, 1000, 0); err != nil {
		return fail("dup:", err)
	}
	runtime.LockOSThread()
	all := unix.Sigset_t{}
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil); err != nil {
		return fail("block signals:", err)
	}
	self, err := launch.UncheckedSelf()
	if err != nil {
		return fail("", err)
	}
	defer self.Close()
	if err := self.Start(launch.Config{StateDir: "/state", Args: []string{"--log-level", "debug"}}); err != nil {
		return fail("", err)
	}
	var now unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &now); err != nil || now.Val[0]&1 == 0 {
		return fail("the signal mask has changed since Start:", err)
	}
	if _, err := os.Stdout.WriteString("started"); err != nil { // the other end of the pipe reads EOF next
		return fail("write:", err)
	}
	return 0
}

// status returns one field of /proc/self/status.
func status(field string) string {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, _ := strings.Cut(s.Text(), ":"); key == field {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

// reporter receives the report of a started reaper.
type reporter struct {
	path     string
	listener *net.UnixListener
}

func newReporter(t *testing.T) *reporter {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &reporter{path: path, listener: l}
}
