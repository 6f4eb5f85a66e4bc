// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/sasha-s/go-deadlock"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	testnode "github.com/halfclose/halfclose/test/node"
)

// job is what such a process does: test/installer reads it.
type job struct {
	Uninstall bool
	Config    Config
	Object    string // of Config.Entry
}

func TestMain(m *testing.M) {
	// With the race detector go-cni looks for deadlocks too, and takes all goroutines of this Go for one.
	deadlock.Opts.Disable = true
	os.Exit(m.Run())
}

func TestSourcesAreNoted(t *testing.T) {
	if err := testnode.NoteSources("../..", "test/installer"); err != nil {
		t.Error(err)
	}
}

// installer builds test/installer, and returns its path.
var installer = sync.OnceValues(func() (string, error) {
	return testnode.BuildShared("../..", "installer", "./test/installer")
})

// begin is the signal by which the installer says that its work begins.
const begin = unix.SIGUSR1

// step is a system call on a file or a directory of the test's, which is about to be made. Those that only tell
// the process something of a file that it has open are none.
type step struct {
	n    int // the first is 0
	call uint64
	args [6]uint64
	on   string // the file or directory
}

func (s step) String() string { return fmt.Sprintf("step %d: system call %d on %s", s.n, s.call, s.on) }

// changes reports whether a step changes what others see.
func (s step) changes() bool {
	switch s.call {
	case unix.SYS_OPENAT:
		return s.args[2]&(unix.O_CREAT|unix.O_TRUNC) != 0
	case unix.SYS_READ, unix.SYS_GETDENTS64, unix.SYS_FLOCK, unix.SYS_FCNTL, unix.SYS_FSYNC, unix.SYS_OPENAT2, unix.SYS_NEWFSTATAT:
		return false
	}
	return true
}

// runSteps runs a job in a process of its own, which stops before each of its steps below dir: for at, which reports
// whether the process is to go on, and not to be killed there. It returns how many steps there were, and whether
// the process ended by itself; an error of its own fails the test.
func runSteps(t *testing.T, dir string, j job, at func(step) bool) (steps int, ended bool) {
	t.Helper()
	runtime.LockOSThread() // only the thread that traces a process can wait for it
	defer runtime.UnlockOSThread()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	program, err := installer()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, string(text))
	cmd.Stderr = write
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	err = cmd.Start()
	write.Close()
	if errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(t, "trace a process", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		b := make([]byte, 4096)
		n, _ := read.Read(b)
		stderr.Write(b[:n])
	}()
	pid := cmd.Process.Pid
	steps, status := traceSteps(t, pid, dir, at)
	<-said
	if status.Exited() && status.ExitStatus() != 0 {
		t.Errorf("exit status %d: %s", status.ExitStatus(), stderr.String())
	}
	return steps, status.Exited()
}

func traceSteps(t *testing.T, pid int, dir string, at func(step) bool) (steps int, last unix.WaitStatus) {
	t.Helper()
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	attached, worker := false, 0
	for {
		var status unix.WaitStatus
		// Of this thread's own children: other tests have some too.
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			t.Fatalf("wait for the traced process: %v", err)
		case status.Exited() || status.Signaled():
			if tid == pid {
				return steps, status
			}
			continue
		case !attached:
			attached = true
			if err := unix.PtraceSetOptions(pid, options); err != nil {
				t.Fatal(err)
			}
		}
		deliver := 0
		switch sig := status.StopSignal(); sig {
		case begin:
			worker = tid
		case unix.SIGTRAP | 0x80:
			if s, ok := enters(tid, dir); ok {
				s.n = steps
				steps++
				if !at(s) {
					if err := unix.Kill(pid, unix.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
			}
		case unix.SIGTRAP, unix.SIGSTOP: // of tracing itself
		default:
			deliver = int(sig)
		}
		if tid == worker { // each may have been killed by now
			_ = unix.PtraceSyscall(tid, deliver)
		} else {
			_ = unix.PtraceCont(tid, deliver)
		}
	}
}

// enters returns what a stopped thread is about to do, if that is a step.
func enters(tid int, dir string) (step, bool) {
	const getSyscallInfo, entry = 0x420e, 1 // PTRACE_GET_SYSCALL_INFO, PTRACE_SYSCALL_INFO_ENTRY (linux/ptrace.h)
	var info [88]byte
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), uintptr(len(info)), uintptr(unsafe.Pointer(&info[0])), 0, 0)
	if errno != 0 || info[0] != entry {
		return step{}, false
	}
	s := step{call: binary.NativeEndian.Uint64(info[24:])}
	for i := range s.args {
		s.args[i] = binary.NativeEndian.Uint64(info[32+8*i:])
	}
	switch {
	case s.call == unix.SYS_FCNTL && s.args[1] != unix.F_SETLEASE, s.call == unix.SYS_FSTAT, s.call == unix.SYS_CLOSE, s.call == unix.SYS_EPOLL_CTL:
		return step{}, false
	}
	var err error
	s.on, err = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int32(s.args[0])))
	return s, err == nil && strings.HasPrefix(s.on, dir)
}
