// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package launch_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/launch"
)

// reaperLife is a started reaper: its report, and the connection whose close makes it exit.
type reaperLife struct {
	report
	conn   net.Conn
	in     *bufio.Reader
	socket string // that received the report
	plugin int    // process ID of the plugin that started it and has exited
}

// runPlugin runs the plugin until it exits, and returns the reaper that it started.
func runPlugin(t *testing.T, attr *syscall.SysProcAttr, env ...string) reaperLife {
	t.Helper()
	rep := newReporter(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(env, roleVar+"=plugin", socketVar+"="+rep.path) // without the test's variables
	cmd.Dir = t.TempDir()
	cmd.SysProcAttr = attr
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr // pipes: Run waits for EOF on both, as libcni does
	if err := cmd.Run(); err != nil || stdout.String() != "started" {
		t.Fatalf("plugin: %v: %q %q", err, stdout.String(), stderr.String())
	}
	r := rep.accept(t)
	r.plugin = cmd.Process.Pid
	return r
}

// accept returns the next reaper to report. The test waits for it to exit.
func (rep *reporter) accept(t *testing.T) reaperLife {
	t.Helper()
	if err := rep.listener.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn, err := rep.listener.Accept()
	if err != nil {
		t.Fatalf("the reaper did not report: %v", err)
	}
	r := reaperLife{conn: conn, in: bufio.NewReader(conn), socket: rep.path}
	t.Cleanup(func() {
		conn.Close()
		if _, err := unix.Wait4(r.PID, nil, 0, nil); err != nil { // a child of this process because of TestMain
			t.Errorf("wait for the reaper: %v", err)
		}
	})
	line, err := r.in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r.report)
	}
	if err != nil {
		t.Fatalf("read report: %v", err)
	}
	return r
}

func TestStartTakesNothingAlong(t *testing.T) {
	r := runPlugin(t, nil,
		"CNI_COMMAND=ADD", "CNI_ARGS=K8S_POD_NAME=web", "NOTIFY_SOCKET=/n", "LISTEN_FDS=1", "JOURNAL_STREAM=1:2",
		"INVOCATION_ID=1", "AWS_SECRET=x", "PATH=/bin", "LC_ALL=C", "HALFCLOSE_LOG_FORMAT=json")

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	wantArgs := []string{exe, "reaper", "--auto", "--state-dir", "/state", "--log-level", "debug"}
	if diff := cmp.Diff(wantArgs, r.Args); diff != "" {
		t.Errorf("arguments (-want +got)\n%s", diff)
	}
	wantEnv := []string{
		"HALFCLOSE_LOG_FORMAT=json", roleVar + "=plugin", socketVar + "=" + r.socket, "LC_ALL=C", "PATH=/bin",
	}
	slices.Sort(r.Env)
	if diff := cmp.Diff(wantEnv, r.Env); diff != "" {
		t.Errorf("environment (-want +got)\n%s", diff)
	}
	if r.Dir != "/" {
		t.Errorf("the directory is %s", r.Dir)
	}
	for fd, target := range r.Files {
		// The Go runtime keeps a cgroup file of its own open, to follow the CPU limit.
		if fd > 2 && !strings.HasPrefix(target, "/sys/fs/cgroup/") || fd <= 2 && target != "/dev/null" {
			t.Errorf("descriptor %d is %s", fd, target)
		}
	}
	if len(r.Files) < 3 {
		t.Errorf("descriptors are %v", r.Files)
	}
	if r.SID != r.PID || r.PGID != r.PID {
		t.Errorf("pid %d has session %d, process group %d", r.PID, r.SID, r.PGID)
	}
	if r.Exe != exe {
		t.Errorf("it runs %s, want %s: the descriptor by which it was executed must not show", r.Exe, exe)
	}
	if strings.Trim(r.BlockedSigs, "0") != "" {
		t.Errorf("blocked signals: %s", r.BlockedSigs)
	}
}

func TestTheReaperOutlivesThePluginsSession(t *testing.T) {
	r := runPlugin(t, &syscall.SysProcAttr{Setsid: true})
	// runPlugin has seen the plugin exit and both pipes at EOF, so its process group is empty.
	if err := unix.Kill(-r.plugin, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the plugin's process group: %v, want ESRCH", err)
	}
	if r.SID == r.plugin {
		t.Error("the reaper is in the plugin's session")
	}
	if _, err := fmt.Fprintln(r.conn, "there?"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.in.ReadString('\n'); err != nil || got != "there?\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestStartErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := launch.Unchecked(path)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Start(launch.Config{}); !errors.Is(err, unix.ENOEXEC) || !strings.HasPrefix(err.Error(), "start reaper: execute "+path) {
		t.Errorf("got %v", err)
	}
}

func TestNoReaperIsStartedThatCouldNotListen(t *testing.T) {
	longest := "/" + strings.Repeat("x", 94)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, tt := range []struct {
		name, dir string
		address   error // of a socket there; the directory does not exist
		wantErr   string
	}{
		{"the default is short enough", "/run/halfclose", unix.ENOENT, ""},
		{"the longest possible", longest, unix.ENOENT, ""},
		{"trailing slashes do not count", longest + "//", unix.ENOENT, ""},
		{"one byte more", longest + "x", unix.EINVAL, "has 96 bytes, and the name of the reaper's socket leaves room for 95"},
		{"many more", longest + longest, unix.EINVAL, "has 190 bytes, and the name of the reaper's socket leaves room for 95"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			socket := filepath.Join(tt.dir, "reaper.sock")
			if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); !errors.Is(err, tt.address) {
				t.Fatalf("connect to %s: %v, want %v", socket, err, tt.address)
			}
			err := launch.CheckStateDir(tt.dir)
			if tt.wantErr == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got %v, want %q in it", err, tt.wantErr)
			}
			// A directory cannot be executed: an attempt to start it would fail with that.
			p, err := launch.Unchecked(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			err = p.Start(launch.Config{StateDir: tt.dir})
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("start: got %v, want %q in it", err, tt.wantErr)
			}
		})
	}
}

func TestEnvironOfNothingIsNothing(t *testing.T) {
	if got := launch.Environ([]string{"CNI_COMMAND=ADD", "=", "PATH", "X=PATH=1"}); got == nil || len(got) != 0 {
		t.Errorf("got %#v", got)
	}
}

func TestRunning(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }

	listen := func(name string, backlog int) int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: path(name)})
		}
		if err == nil && backlog >= 0 {
			err = unix.Listen(fd, backlog)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	listen("idle", 16)
	listen("bound", -1)
	listen("full", 0)
	for { // no process accepts
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path("full")}); errors.Is(err, unix.EAGAIN) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	stale := listen("stale", 16)
	if err := unix.Close(stale); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name, socket string
		want         bool
	}{
		{"a listener runs", path("idle"), true},
		{"one whose backlog is full runs", path("full"), true},
		{"a socket without a listener does not", path("bound"), false},
		{"a socket left behind does not", path("stale"), false},
		{"no socket does not", path("none"), false},
		{"no directory does not", path("none/none"), false},
		{"a file in place of the directory does not", path("file/none"), false},
		{"a file does not", path("file"), false},
		{"a path too long for a socket does not", path(strings.Repeat("x", 200)), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := launch.Running(tt.socket); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestRunningLeavesNoConnection(t *testing.T) {
	rep := newReporter(t)
	if !launch.Running(rep.path) {
		t.Fatal("not running")
	}
	conn, err := rep.listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v: want EOF", n, err)
	}
}
