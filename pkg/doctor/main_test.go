// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/doctor"
	"github.com/halfclose/halfclose/test/node"
)

const (
	// onNodeVar is set on the node, where a fuzzing test starts the test binary again.
	onNodeVar = "HALFCLOSE_TEST_ON_NODE"
	// patientVar has the configuration that the test binary checks instead of running tests.
	patientVar = "HALFCLOSE_TEST_PATIENT"
)

// noNode is nil if the tests run on their own node, and otherwise the reason why not.
var noNode error // set once, before the tests run

// TestMain runs the tests on their own node, with its own named namespaces in /run/netns.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "version" {
		unix.Exit(beCommand()) // os.Exit waits a second for the race detector
	}
	if os.Getenv(patientVar) != "" {
		os.Exit(bePatient())
	}
	if os.Getenv(onNodeVar) != "" {
		os.Exit(withProgram(m.Run))
	}
	code, err := node.Run(node.Program{
		Run: func() int {
			err := errors.Join(
				os.Setenv(onNodeVar, "yes"), unix.Mount("", "/run", "", unix.MS_SHARED, ""), os.MkdirAll("/run/netns", 0o755))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return withProgram(m.Run)
		},
		Keep: []string{os.TempDir()},
	})
	if node.Denied(err) {
		noNode, err = err, nil
		code = withProgram(m.Run) // tests that need a node are skipped with the reason
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withProgram runs the tests with a copy of this program.
func withProgram(run func() int) int {
	dir, err := os.MkdirTemp("", "halfclose-doctor")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "program")
	self, err := os.ReadFile("/proc/self/exe")
	if err := errors.Join(err, os.WriteFile(path, self, 0o755), os.Setenv(doctor.ProgramVar, path)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

// beCommand answers as a halfclose command that prints the file beside it as its version: ADD starts no script, so the
// tests need a program.
func beCommand() int {
	self, err := os.Executable()
	if err != nil {
		return 1
	}
	version, err := os.Open(self + ".version") // a link to /dev/zero has no end
	if err != nil {
		return 1
	}
	_, _ = io.Copy(os.Stdout, version)
	return 0
}

func needNode(t *testing.T) {
	t.Helper()
	if noNode != nil {
		nstest.NeedPrivilege(t, "create a node for the test", noNode)
	}
}

// patient is a process that looks at itself and the node.
type patient struct {
	StateDir, HostRoot, ConfDir string
	// Propagation is set on all mounts of the process before the checks; 0 or one of mount(2)'s.
	Propagation uintptr
	HideRun     bool // with an empty tmpfs
	Refuse      []nstest.Refusal
}

func (p patient) config() doctor.Config {
	return doctor.Config{
		StateDir: p.StateDir, SwitchPath: filepath.Join(p.StateDir, "mode"), HostRoot: p.HostRoot, ConfDir: p.ConfDir,
		BinDir: spec.DefaultBinDir, Limit: patience,
	}
}

// patience is the timeout of waits, for a busy machine.
const patience = 4 * doctor.DefaultLimit

// command prepares the process. It prints a line when it is ready, and inspects the node when its stdin is closed.
func (p patient) command(t *testing.T) *exec.Cmd {
	t.Helper()
	needNode(t)
	if p.ConfDir == "" {
		p.ConfDir = t.TempDir()
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), patientVar+"="+string(text))
	return cmd
}

// examine runs the checks in a process. before runs after the process has changed its mounts and before its checks.
func examine(t *testing.T, cmd *exec.Cmd, before func()) doctor.Report {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, inErr := cmd.StdinPipe()
	stdout, outErr := cmd.StdoutPipe()
	err := errors.Join(inErr, outErr, cmd.Start())
	if errors.Is(err, unix.EPERM) { // on a node with only one user
		nstest.NeedPrivilege(t, "start a process with other privileges", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 1)
	if _, err := io.ReadFull(stdout, ready); err != nil {
		t.Fatalf("the process is not ready: %v, %v\n%s", err, cmd.Wait(), stderr.String())
	}
	before()
	stdin.Close()
	var report doctor.Report
	err = json.NewDecoder(stdout).Decode(&report)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return report
}

// without runs the process without a capability: one that its parent's bounding set lacks (capabilities(7)).
func without(t *testing.T, capability uintptr, run func()) {
	t.Helper()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // not unlocked: the thread exits with the goroutine
		if err = unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err == nil {
			run()
		}
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
}

// bePatient is the main function of the process.
func bePatient() int {
	var p patient
	err := json.Unmarshal([]byte(os.Getenv(patientVar)), &p)
	if err == nil && p.Propagation != 0 {
		err = unix.Mount("", "/", "", unix.MS_REC|p.Propagation, "")
	}
	if err == nil && p.HideRun {
		err = unix.Mount("tmpfs", "/run", "tmpfs", 0, "")
	}
	if err == nil && len(p.Refuse) > 0 {
		err = nstest.Refuse(p.Refuse...)
	}
	if err == nil {
		_, err = os.Stdout.WriteString(".")
	}
	if err == nil {
		_, err = io.Copy(io.Discard, os.Stdin)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(doctor.Run(context.Background(), p.config()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
