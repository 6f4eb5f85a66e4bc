// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/test/node"
)

// top is the repository.
const top = "../.."

// The test binary is also the demo, if binVar is set, and the process of a container.
const (
	demoVar = "DEMO_TEST_DEMO" // set: run as the demo
	binVar  = "DEMO_TEST_BIN"
)

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 3 && os.Args[1] == peerArg:
		main()
		return
	case os.Getenv(demoVar) != "":
		os.Exit(run(os.Getenv(binVar)))
	}
	os.Exit(node.Suite{Name: "demo", Top: top, BinVar: binVar, Parallel: 8}.Run(m.Run))
}

// The tests' node is the demo's host: nothing else changes it.
func TestTheDemoLeavesItsHostUnchanged(t *testing.T) {
	node.Need(t)
	before := listHost(t)
	t.Run("however it exits", func(t *testing.T) { // which waits for its parallel subtests
		for _, tt := range []struct {
			name   string
			env    string
			when   string // once it has printed this
			signal unix.Signal
			code   int // -1: by the signal
			output string
		}{
			{name: "when it is finished", code: 0, output: "The node is gone, and the host is unchanged."},
			{name: "when a check fails", env: "HALFCLOSE_MODE=observe", code: 1, output: "CHECK FAILED: halfshut was destroyed"},
			{name: "by SIGINT at the start", when: "=== 1.", signal: unix.SIGINT, code: 130, output: "interrupted"},
			{name: "by SIGTERM with the reaper started", when: "started the reaper", signal: unix.SIGTERM, code: 143, output: "interrupted"},
			{name: "by SIGINT with connections open", when: "=== 3.", signal: unix.SIGINT, code: 130, output: "interrupted"},
			{name: "by SIGHUP while it waits", when: "=== 4.", signal: unix.SIGHUP, code: 129, output: "interrupted"},
			{name: "by SIGKILL at the start", when: "=== 1.", signal: unix.SIGKILL, code: -1},
			{name: "by SIGKILL with connections open", when: "=== 3.", signal: unix.SIGKILL, code: -1},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				d := startDemo(t, tt.env)
				if tt.signal != 0 {
					nstest.Eventually(t, time.Minute, "it prints "+tt.when, func() bool { return strings.Contains(d.text(), tt.when) })
					if err := d.cmd.Process.Signal(tt.signal); err != nil {
						t.Fatal(err)
					}
				}
				<-d.ended
				if code := d.cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(d.text(), tt.output) {
					t.Errorf("exit code %d, want %d and %q; its output:\n%s", code, tt.code, tt.output, d.text())
				}
			})
		}
	})
	// The kernel takes a moment to free the node of a killed demo.
	var after []string
	nstest.Eventually(t, time.Minute, "no process is left", func() bool {
		after = listHost(t)
		return len(after) <= len(before)
	})
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the host (-before +after)\n%s", diff)
	}
}

func TestASocketThatHoldsANetworkNamespaceIsNamed(t *testing.T) {
	ns := nstest.New(t)
	id, err := netns.Identify(ns.Path())
	if err != nil {
		nstest.NeedPrivilege(t, "enter a network namespace", err)
	}
	sockets := func() string {
		list, err := holders([]netns.Identity{id})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(slices.DeleteFunc(list, func(text string) bool { return !strings.Contains(text, "socket:[") }), "\n")
	}
	if got := sockets(); got != "" {
		t.Errorf("before there is one:\n%s", got)
	}
	l := ns.ListenAt(t, "127.0.0.1:0")
	if got, want := sockets(), fmt.Sprintf("process %d, ", os.Getpid()); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	l.Close()
	if got := sockets(); got != "" {
		t.Errorf("after it has been closed:\n%s", got)
	}
}

// running is a running demo.
type running struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	mu     sync.Mutex
	output bytes.Buffer
}

func (r *running) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.output.Write(b)
}

func (r *running) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.output.String()
}

func startDemo(t *testing.T, env string) *running {
	t.Helper()
	r := &running{cmd: exec.Command("/proc/self/exe"), ended: make(chan struct{})}
	r.cmd.Dir = top
	r.cmd.Env = append(os.Environ(), demoVar+"=1")
	if env != "" {
		r.cmd.Env = append(r.cmd.Env, env)
	}
	// One pipe for both. It closes when all processes that have it have exited.
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd.Stderr = r.cmd.Stdout
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		_, _ = io.Copy(r, bufio.NewReader(out))
		_ = r.cmd.Wait() // the tests look at ProcessState
	}()
	return r
}

// listHost lists the host's processes, mounts, links, and files below /run and /var/lib.
func listHost(t *testing.T) (all []string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for mount := range strings.Lines(string(mounts)) {
		// Tests of other packages, which may run now, mount in their temporary directories.
		if field := strings.Fields(mount); len(field) < 5 || !strings.HasPrefix(field[4], os.TempDir()+"/") {
			all = append(all, mount)
		}
	}
	for _, command := range []string{"ip -brief link", "ip netns list-id", "ip route"} {
		word := strings.Fields(command)
		out, err := output(exec.Command(word[0], word[1:]...))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Split(out, "\n")...)
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	all = slices.Concat(all, slices.DeleteFunc(processes, func(p string) bool {
		_, err := os.Stat(p) // the entries of commands that this function ran are gone
		return err != nil
	}))
	for _, dir := range []string{"/run", "/var/lib"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			all = append(all, path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}
