// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// TestAFrozenReaperIsReportedWithin5s sends SIGSTOP to a real reaper.
func TestAFrozenReaperIsReportedWithin5s(t *testing.T) {
	t.Parallel()
	dir := nstest.ShortDir(t)
	var stderr outputtest.Buffer
	cmd := exec.Command(linkToSelf(t), "reaper", "--state-dir", dir)
	cmd.Stderr = &stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the reaper's log:\n%s", stderr.String())
		}
	})
	nstest.Eventually(t, patience, "the reaper listens", func() bool { return launch.Running(state.New(dir).SocketPath()) })
	nstest.Suspend(t, cmd.Process.Pid)
	want := fmt.Sprintf("the reaper (pid %d, on %s) does not answer within 5s", cmd.Process.Pid, filepath.Join(dir, "reaper.sock"))
	t.Run("every question", func(t *testing.T) {
		for _, args := range [][]string{{"status"}, {"health"}, {"health", "--live"}, {"mode"}, {"mode", "observe"}, {"sockets"}, {"history"}} {
			t.Run(strings.Join(args, " "), func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				code, stdout, stderr := call(t, nil, append(args, "--state-dir", dir)...)
				if code != cmdline.Failure || stdout != "" || !strings.Contains(stderr, want) ||
					!strings.HasPrefix(stderr, "halfclose: waiting for the reaper\n") || strings.Count(stderr, "\n") != 2 {
					t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
				}
				if took := time.Since(began); took > patience {
					t.Errorf("it took %v", took)
				}
			})
		}
	})
	if all, err := state.LoadSwitches(filepath.Join(dir, "mode")); err != nil || all.Node == nil || all.Node.Mode != policy.Observe {
		t.Errorf("the switches that the reaper obeys later are %+v, %v", all, err)
	}
}
