// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// podman is Podman with networks of CNI.
type podman struct{}

func (podman) start(t *testing.T) {
	t.Helper()
	podmanRun(t, "load", "--input", makePropImage(t))
}

// podmanCommand prepares a command with the configuration in testdata.
func podmanCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("podman", args...)
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+filepath.Join(dir, "podman.conf"), "CONTAINERS_STORAGE_CONF="+filepath.Join(dir, "podman-storage.conf"))
	return cmd
}

func podmanRun(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(run(t, podmanCommand(t, args...)))
}

func (podman) run(t *testing.T, name string, annotations map[string]string) (*pod, error) {
	t.Helper()
	args := []string{"run", "--detach", "--pull", "never", "--name", name, "--network", network}
	for key, value := range annotations {
		args = append(args, "--annotation", key+"="+value)
	}
	id, err := try(podmanCommand(t, append(args, propImage, "peer")...))
	if err != nil {
		_, since := try(podmanCommand(t, "rm", "--force", "--ignore", name))
		return nil, cleanUp(err, since)
	}
	p := &pod{name: name, id: strings.TrimSpace(id)}
	p.owner = p.id
	p.netns = podmanRun(t, "inspect", "--format", "{{.NetworkSettings.SandboxKey}}", name)
	return p, nil
}

func (podman) remove(t *testing.T, p *pod) {
	t.Helper()
	podmanRun(t, "rm", "--force", "--time", "5", p.name)
}
