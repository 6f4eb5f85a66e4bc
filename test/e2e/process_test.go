// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/halfclose/halfclose/deploy/seccomp"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/state"
)

// halfclose returns the path of the command under test.
func halfclose() string { return filepath.Join(os.Getenv(binVar), "halfclose") }

// pluginDir returns the directory of the plugin under test and of the other plugins of its chain.
func pluginDir() string { return filepath.Join(os.Getenv(binVar), "cni") }

// command prepares the command under test with the world's state directory, and with the seccomp profile and the capabilities
// of the container that runs it.
func (w *world) command(args ...string) *exec.Cmd {
	profile := seccomp.Reaper
	if len(args) > 0 && (args[0] == "install" || args[0] == "uninstall") {
		profile = seccomp.Installer
	}
	cmd := exec.Command(filepath.Join(os.Getenv(binVar), "confine"), append([]string{profile, halfclose()}, args...)...)
	cmd.Env = append(os.Environ(), w.exec.env...)
	return cmd
}

// result is the exit code and output of a command.
type result struct {
	code           int
	stdout, stderr string
}

// run runs a command until it exits.
func (w *world) run(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, w.command(args...))
}

func run(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// plugin prepares a direct call of the plugin, without libcni and the rest of the chain.
func (w *world) plugin(command string, a state.Attachment, netns, conf string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(pluginDir(), "halfclose"))
	cmd.Env = append(os.Environ(), w.exec.env...)
	cmd.Env = append(cmd.Env, "CNI_COMMAND="+command, "CNI_CONTAINERID="+a.ContainerID, "CNI_IFNAME="+a.IfName,
		"CNI_NETNS="+netns, "CNI_PATH="+pluginDir())
	cmd.Stdin = bytes.NewBufferString(conf)
	return cmd
}

// pluginConf returns the plugin's configuration with a prevResult and additional keys.
func pluginConf(more string) string {
	return `{"cniVersion": "1.0.0", "name": "direct", "type": "halfclose", "prevResult": {"cniVersion": "1.0.0"}` + more + `}`
}

// external keeps the plugin from starting a reaper.
const external = `, "reaper": "external"`

// start starts a reaper. It is killed when the test ends, unless it has exited.
func (w *world) start(t *testing.T, args ...string) *testnode.Process {
	t.Helper()
	return testnode.Start(t, w.command(append([]string{"reaper"}, args...)...))
}

// startApart starts a reaper in its own PID namespace, as in a container without the host's.
func (w *world) startApart(t *testing.T, args ...string) *testnode.Process {
	t.Helper()
	cmd := w.command(append([]string{"reaper"}, args...)...)
	cmd.Args = append([]string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}, cmd.Args...)
	path, err := exec.LookPath("unshare")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = path
	return testnode.Start(t, cmd)
}

// holder returns the lock's holder, as recorded in the lock file.
func (w *world) holder(t *testing.T) (h api.Holder) {
	t.Helper()
	b, err := os.ReadFile(w.Store.LockPath())
	if err == nil && len(b) > 0 {
		err = json.Unmarshal(b, &h)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Logf("read the lock: %v", err) // it is being written
	}
	return h
}

// holds waits until the reaper with this PID has the lock and answers.
func (w *world) holds(t *testing.T, pid int) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, "the reaper has the lock and answers", func() bool {
		s, err := w.Client.Status(t.Context())
		return err == nil && s.Holder.PID == pid && w.holder(t).PID == pid
	})
}
