// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	// propImage is the image of the suites' own containers.
	propImage = "local.test/prop:e2e"
)

// containerd is containerd through CRI.
type containerd struct {
	criClient
	config string // in testdata
	dirVar string // names, in the environment, the directory of its programs; "" is the package's
	cmd    *exec.Cmd
}

// path returns the path of one of its programs.
func (c *containerd) path(t *testing.T, name string) string {
	t.Helper()
	if c.dirVar != "" {
		return filepath.Join(os.Getenv(c.dirVar), name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run make e2e", err)
	}
	return path
}

func (c *containerd) start(t *testing.T) {
	t.Helper()
	c.launch(t)
	t.Cleanup(func() { c.end(t, unix.SIGTERM) })
	c.connect(t, containerdSocket)
	c.importImage(t, makePropImage(t))
}

// importImage loads an image archive.
func (c *containerd) importImage(t *testing.T, archive string) {
	t.Helper()
	run(t, exec.Command(c.path(t, "ctr"), "-n", "k8s.io", "images", "import", archive))
}

// launch starts the daemon.
func (c *containerd) launch(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(logPath("containerd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	program := c.path(t, "containerd")
	config, err := filepath.Abs(filepath.Join("testdata", c.config))
	if err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command(program, "--config", config)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH")) // of its own shim
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// end ends the daemon, and waits for that.
func (c *containerd) end(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(signal); err != nil {
		t.Error(err)
	}
	_ = c.cmd.Wait() // the error is that of the signal
}

func (c *containerd) crash(t *testing.T) {
	t.Helper()
	c.end(t, unix.SIGKILL)
}

func (c *containerd) restart(t *testing.T) {
	t.Helper()
	c.launch(t)
	c.ready(t)
}
