// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/systemlog"
	"github.com/halfclose/halfclose/test/node"
)

const (
	// binVar names, in the environment, the directory of the binaries that the tests run.
	binVar = "HALFCLOSE_TEST_BIN"
	// commandDir is the directory of the command below it: it is called as the plugin is.
	commandDir = "command"
	// onNodeVar is set on the node. A fuzzing test starts the test binary again there.
	onNodeVar = "HALFCLOSE_TEST_ON_NODE"
)

// noNode is nil if the tests run on a test node, and otherwise the reason why not.
var noNode error // set once, before the tests run

// TestMain runs the tests on a test node: the plugin's warnings must not reach the host's log.
func TestMain(m *testing.M) {
	if os.Getenv(onNodeVar) != "" {
		os.Exit(m.Run())
	}
	var bin string
	code, err := node.Run(node.Program{
		Before: func() (err error) {
			bin, err = os.MkdirTemp("", "halfclose-test-")
			return errors.Join(err, os.Setenv(binVar, bin),
				build(bin, "plugins/halfclose"), build(bin, "test/bench/noop"), build(filepath.Join(bin, commandDir), "cmd/halfclose"))
		},
		Run: func() int {
			if err := errors.Join(hideSyslog(), os.Setenv(onNodeVar, "yes")); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return m.Run()
		},
		Keep: []string{os.TempDir()},
	})
	if node.Denied(err) {
		noNode, err = err, nil
		code = m.Run()
	}
	if bin != "" {
		err = errors.Join(err, os.RemoveAll(bin))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// syslogSocket is the socket of the syslog daemon. If it is a link into /run, the test node has none.
const syslogSocket = "/dev/log"

// hideSyslog mounts another file over the host's syslog socket.
func hideSyslog() error {
	if _, err := os.Stat(syslogSocket); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := unix.Mount(os.DevNull, syslogSocket, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("hide %s: %w", syslogSocket, err)
	}
	return nil
}

// build builds a command as it is released, statically linked and without symbols.
func build(dir, pkg string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if ok, err := node.Prebuilt(pkg, filepath.Join(dir, filepath.Base(pkg))); ok {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/", "github.com/halfclose/halfclose/"+pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// binary returns the path of a built command. It skips the test without a test node.
func binary(tb testing.TB, name string) string {
	tb.Helper()
	if noNode != nil {
		nstest.NeedPrivilege(tb, "make a node to run the plugin on", noNode)
	}
	return filepath.Join(os.Getenv(binVar), name)
}

func TestTheHostsLogIsOutOfReach(t *testing.T) {
	binary(t, "halfclose")
	for _, path := range []string{systemlog.DefaultJournalSocket, syslogSocket} {
		if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
			t.Errorf("%s is a socket", path)
		}
	}
}

// process describes a process of the plugin.
type process struct {
	path  string
	env   map[string]string // in addition to the variables of every call
	stdin string
}

// exited is the outcome of a process.
type exited struct {
	code           int
	stdout, stderr string
}

// run runs the process with no other environment than env and PATH.
func (p process) run() (exited, error) {
	cmd := exec.Command(p.path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for key, value := range p.env {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	cmd.Stdin = strings.NewReader(p.stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		err = nil
	}
	if err != nil {
		return exited{}, fmt.Errorf("run %s: %w", p.path, err)
	}
	return exited{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, nil
}
