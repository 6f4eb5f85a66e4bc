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
)

// The test binary plays all parts: it is the plugin when roleVar says so, and the reaper when it was
// started as one.
const (
	roleVar   = "HALFCLOSE_TEST_ROLE"
	socketVar = "HALFCLOSE_TEST_SOCKET" // where the reaper reports
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
	// Reapers become orphans when their plugin ends, and then this process's children.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// report is what a started reaper finds about itself.
type report struct {
	Args          []string
	Env           []string
	Dir           string
	Files         map[int]string // descriptor to what it leads to
	PID, PGID     int
	SID           int
	BlockedSigs   string
	DetachErr     string
	UmaskAfter    string
	OOMScoreAfter string
	CgroupsBefore string
	CgroupsAfter  string
	Exe, Name     string // Name is after Detach
}

// reaper reports over the socket named in its environment, and lives until that is closed.
func reaper() int {
	files := map[int]string{}
	for fd := range 4096 { // no directory is read: that would open a descriptor of its own
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			files[fd], _ = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		}
	}
	r := report{Args: os.Args, Env: os.Environ(), Files: files, PID: os.Getpid(), PGID: unix.Getpgrp()}
	r.Dir, _ = os.Getwd()
	r.SID, _ = unix.Getsid(0)
	r.BlockedSigs = status("SigBlk")
	r.CgroupsBefore = read("/proc/self/cgroup")
	if os.Getenv(mountVar) != "" { // only a cgroup of the test's own is left
		if err := launch.Detach(); err != nil {
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
	_, _ = io.Copy(conn, conn) // an echo shows that it still lives
	return 0
}

// plugin calls Start with everything around it that a reaper must not take along.
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
	for range 3 { // descriptors that nobody marked: they would pass through an exec
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
		return fail("the signal mask is not as it was before Start:", err)
	}
	if _, err := os.Stdout.WriteString("started"); err != nil { // the pipe's other end sees EOF next
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

// reporter is the test's end of a started reaper.
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
