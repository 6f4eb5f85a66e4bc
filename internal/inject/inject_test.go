// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inject_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
)

// envRole makes this test binary the program that the tests start.
const envRole = "_HALFCLOSE_INJECT_ROLE"

// patience bounds a wait on a busy machine.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	if err := inject.Main(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(127)
	}
	if role := os.Getenv(envRole); role != "" {
		if err := play(role, os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(nstest.Main(m))
}

// play prints what the system calls of a role have returned.
func play(role string, args []string) error {
	switch role {
	case "replace": // writes a file, and renames it
		return errors.Join(os.WriteFile(args[0]+".new", []byte("new"), 0o600), os.Rename(args[0]+".new", args[0]))
	case "datagrams": // receives two datagrams in each way
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		for range 2 {
			if _, err := unix.Write(pair[0], []byte("a datagram of 24 bytes..")); err != nil {
				return err
			}
			b := make([]byte, 100)
			n, _, flags, _, err := unix.Recvmsg(pair[1], b, nil, 0)
			fmt.Printf("%q truncated=%v %v\n", b[:max(n, 0)], flags&unix.MSG_TRUNC != 0, err)
		}
		return nil
	}
	return fmt.Errorf("there is no role %q", role)
}

func role(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), envRole+"="+name)
	return cmd
}

// process is a supervised command and its output.
type process struct {
	*inject.Supervisor
	cmd    *exec.Cmd
	output outputtest.Buffer
}

func start(t *testing.T, cmd *exec.Cmd, calls []uintptr, faults ...inject.Fault) *process {
	t.Helper()
	p := &process{cmd: cmd}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	var err error
	if p.Supervisor, err = inject.Start(cmd, calls, faults...); err != nil {
		nstest.NeedPrivilege(t, "install a seccomp filter", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have exited
		if cmd.ProcessState == nil {
			_ = cmd.Wait() // killed
		}
		<-p.Done()
	})
	return p
}

// wait waits until the command has exited, and returns its output.
func (p *process) wait(t *testing.T) string {
	t.Helper()
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Wait() // ProcessState has the exit code
	}
	<-p.Done()
	if err := p.Err(); err != nil {
		t.Error(err)
	}
	return p.output.String()
}

func newFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func on(path string) func(*inject.Call) bool {
	return func(c *inject.Call) bool { return c.Path() == path }
}

func TestOnlyTheSelectedCallsFail(t *testing.T) {
	bad, good := newFile(t, "bad"), newFile(t, "good")
	p := start(t, exec.Command("cat", bad, good, bad), []uintptr{unix.SYS_OPENAT})
	i := p.Inject(inject.Fault{Calls: []uintptr{unix.SYS_OPENAT}, Where: on(bad), Effect: inject.Fail(unix.EIO), Times: 1})
	if got := p.wait(t); !strings.Contains(got, "Input/output error") || !strings.Contains(got, "goodbad") {
		t.Errorf("the output is %q", got)
	}
	if calls := i.Calls(); !slices.Equal(calls, []string{"openat " + bad}) {
		t.Errorf("the fault had its effect on %q", calls)
	}
}

func TestFaultsApplyToChildren(t *testing.T) {
	file := newFile(t, "text")
	p := start(t, exec.Command("sh", "-c", `cat "$0"; echo; exec cat "$0"`, file), []uintptr{unix.SYS_OPENAT},
		inject.Fault{Calls: []uintptr{unix.SYS_OPENAT}, Where: func(c *inject.Call) bool { return c.Path() == file && c.Program() == "cat" }, Effect: inject.Fail(unix.ENFILE)})
	if got := p.wait(t); strings.Count(got, "Too many open files in system") != 2 {
		t.Errorf("the output is %q", got)
	}
}

func TestAShortReadTransfersTheRestLater(t *testing.T) {
	file := newFile(t, "0123456789")
	p := start(t, exec.Command("cat", file), []uintptr{unix.SYS_READ})
	i := p.Inject(inject.Fault{Calls: []uintptr{unix.SYS_READ}, Where: on(file), Effect: inject.Short(4)})
	if got := p.wait(t); got != "0123456789" {
		t.Errorf("read %q", got)
	}
	if i.Hits() != 4 { // 4, 4, 2, and the end
		t.Errorf("%d reads, want 4", i.Hits())
	}
}

func TestAShortWriteTransfersTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	p := start(t, role("replace", file), inject.FileCalls(),
		inject.Fault{Calls: []uintptr{unix.SYS_WRITE}, Where: on(file + ".new"), Effect: inject.Short(1), Times: 1},
		inject.Fault{Calls: []uintptr{unix.SYS_WRITE}, Where: on(file + ".new"), Effect: inject.Fail(unix.ENOSPC)})
	if got := p.wait(t); !strings.Contains(got, "no space left") {
		t.Errorf("the output is %q", got)
	}
	if text, _ := os.ReadFile(file); string(text) != "n" {
		t.Errorf("the file has %q", text)
	}
}

func TestAShortDatagramLosesTheRest(t *testing.T) {
	p := start(t, role("datagrams"), []uintptr{unix.SYS_RECVMSG},
		inject.Fault{Calls: []uintptr{unix.SYS_RECVMSG}, Effect: inject.Short(10), Times: 1})
	const want = "\"a datagram\" truncated=true <nil>\n\"a datagram of 24 bytes..\" truncated=false <nil>\n"
	if got := p.wait(t); got != want {
		t.Errorf("received %s, want %s", got, want)
	}
}

func TestACallHangsUntilTheFaultIsLifted(t *testing.T) {
	file := newFile(t, "text")
	p := start(t, exec.Command("cat", file), []uintptr{unix.SYS_OPENAT})
	i := p.Inject(inject.Fault{Calls: []uintptr{unix.SYS_OPENAT}, Where: on(file), Effect: inject.Hang()})
	nstest.Eventually(t, patience, "the call hangs", func() bool { return i.Hits() == 1 })
	if p.output.String() != "" {
		t.Error("the call has returned")
	}
	i.Lift()
	if got := p.wait(t); got != "text" {
		t.Errorf("read %q", got)
	}
}

func TestAHangingProcessCanBeKilled(t *testing.T) {
	file := newFile(t, "text")
	p := start(t, exec.Command("cat", file), []uintptr{unix.SYS_OPENAT},
		inject.Fault{Calls: []uintptr{unix.SYS_OPENAT}, Where: on(file), Effect: inject.Hang()})
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
}

func TestADelayedCallReturnsLater(t *testing.T) {
	file := newFile(t, "text")
	const delay = 300 * time.Millisecond
	began := time.Now()
	p := start(t, exec.Command("cat", file), []uintptr{unix.SYS_OPENAT},
		inject.Fault{Calls: []uintptr{unix.SYS_OPENAT}, Where: on(file), Effect: inject.Late(delay)})
	if got := p.wait(t); got != "text" || time.Since(began) < delay {
		t.Errorf("read %q after %v", got, time.Since(began))
	}
}

func TestTheProcessIsKilledBeforeTheCall(t *testing.T) {
	for skip, want := range []struct {
		name string
		file func(path string) string
	}{
		{"before the first call", func(string) string { return "" }},
		{"before the second call", func(path string) string { return path + ".new" }},
	} {
		t.Run(want.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "file")
			p := start(t, role("replace", file), inject.FileCalls(), inject.Fault{
				Calls: []uintptr{unix.SYS_OPENAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2}, Effect: inject.Kill(), Skip: skip,
				Where: func(c *inject.Call) bool { return c.Below(filepath.Dir(file)) },
			})
			p.wait(t)
			if p.cmd.ProcessState.ExitCode() != -1 {
				t.Errorf("it was not killed: %v", p.cmd.ProcessState)
			}
			found, err := filepath.Glob(file + "*")
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(found, " "); got != want.file(file) {
				t.Errorf("it has left %q, want %q", got, want.file(file))
			}
		})
	}
}

func TestAFaultOfACallWithoutNotificationsIsAnError(t *testing.T) {
	p := start(t, exec.Command("true"), []uintptr{unix.SYS_OPENAT})
	p.Inject(inject.Fault{Calls: []uintptr{unix.SYS_RENAMEAT}, Effect: inject.Fail(unix.EIO)})
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "without notifications of renameat") {
		t.Errorf("got %v", err)
	}
	_ = p.cmd.Wait()
	<-p.Done()
}

func TestAProgramThatDoesNotExistIsAnError(t *testing.T) {
	if _, err := inject.Start(exec.Command("halfclose-does-not-exist"), inject.FileCalls()); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got %v, want %v", err, exec.ErrNotFound)
	}
	p := start(t, exec.Command(filepath.Join(t.TempDir(), "none")), inject.FileCalls())
	if got := p.wait(t); !strings.Contains(got, unix.ENOENT.Error()) {
		t.Errorf("the output is %q", got)
	}
}
