// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// startDocker starts a Docker daemon if none was given. The daemon exits with the test's node.
func startDocker(t *testing.T) {
	t.Helper()
	data := os.Getenv(dockerVar)
	if data == "" {
		return
	}
	const socket = "unix:///run/docker.sock"
	log, err := os.Create(filepath.Join(logs(t), "dockerd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("dockerd", "--host", socket, "--data-root", data, "--exec-root", "/run/docker",
		"--pidfile", "/run/docker.pid",
		"--add-runtime", "e2e="+runtimePath(t), "--default-runtime", "e2e")
	cmd.Stdout, cmd.Stderr = log, log
	hide(t, "/etc/docker") // Docker writes a key there
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Docker: %v", err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		<-exited
	})
	t.Setenv("DOCKER_HOST", socket)
	nstest.Eventually(t, time.Minute, "Docker answers", func() bool {
		select {
		case <-exited:
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("Docker has exited: %v\n%s", cmd.ProcessState, text)
		default:
		}
		return exec.Command("docker", "version").Run() == nil
	})
}

// hide mounts an empty directory over a directory of the host, on the node.
func hide(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatalf("hide %s: %v", dir, err)
	}
}

// runtimePath returns the path of runc, or of the wrapper for a root that lacks CAP_SYS_RESOURCE.
func runtimePath(t *testing.T) string {
	t.Helper()
	bounding, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("runc")
	if err == nil && bounding == 0 {
		path, err = filepath.Abs("runc-without-sys-resource")
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// docker runs a Docker command.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	return command(t, exec.Command("docker", args...))
}

// importImage creates an image from files, given as arguments of tar, with changes as in a Dockerfile.
func importImage(t *testing.T, ref string, changes, files []string) {
	t.Helper()
	var args []string
	for _, change := range changes {
		args = append(args, "--change", change)
	}
	load := exec.Command("docker", append(append([]string{"import"}, args...), "-", ref)...)
	pack := exec.Command("tar", append([]string{"-c"}, files...)...)
	var stderr bytes.Buffer
	pack.Stderr = &stderr
	out, err := pack.StdoutPipe()
	if err == nil {
		load.Stdin = out
		err = pack.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	command(t, load)
	if err := pack.Wait(); err != nil {
		t.Fatalf("tar %s: %v\n%s", strings.Join(files, " "), err, &stderr)
	}
}

// command runs a command that must succeed, and returns its stdout.
func command(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := output(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
