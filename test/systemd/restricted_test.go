// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/node"
)

// capabilities maps the names of the capabilities that the unit may grant to their numbers.
func capabilities() map[string]uintptr {
	return map[string]uintptr{
		"CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
		"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_SYS_PTRACE": unix.CAP_SYS_PTRACE,
	}
}

// restricted starts a command with these capabilities only, as systemd does: as root, with the others removed from the
// bounding set and no_new_privs set.
func restricted(cmd *exec.Cmd, keep []string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread exits with this goroutine
		done <- func() error {
			for c := range uintptr(unix.CAP_LAST_CAP + 1) {
				if slices.ContainsFunc(keep, func(name string) bool { return capabilities()[name] == c && c != 0 }) {
					continue
				}
				if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
					return fmt.Errorf("drop capability %d: %w", c, err)
				}
			}
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return err
			}
			return cmd.Start()
		}()
	}()
	return <-done
}

// restrictedReaper is a reaper with some capabilities only, on its own state directory.
type restrictedReaper struct {
	*testnode.Node
	*testnode.Process
}

func (r *restrictedReaper) logged(text string) bool { return strings.Contains(r.Output(), text) }

// startRestricted starts a reaper with this finder and these capabilities for the containers at the paths, and waits until
// it has read their records. It observes until the test sets the mode.
func startRestricted(t *testing.T, finder string, keep []string, paths ...string) *restrictedReaper {
	t.Helper()
	node.Need(t)
	dir, err := os.MkdirTemp("/run", "hc") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	bin := os.Getenv(binVar)
	env := append(os.Environ(), state.EnvDir+"="+dir)
	for i, path := range paths { // with all capabilities, as a runtime calls the plugin
		add := exec.Command(filepath.Join(bin, "cni/halfclose"))
		add.Env = append(env, "CNI_COMMAND=ADD", fmt.Sprintf("CNI_CONTAINERID=container%d", i), "CNI_IFNAME=eth0", "CNI_NETNS="+path, "CNI_PATH=/")
		add.Stdin = strings.NewReader(`{"cniVersion": "1.0.0", "name": "net", "type": "halfclose", "prevResult": {"cniVersion": "1.0.0"},
			"reaper": "external", "closeWaitGrace": "1s", "finWait2Grace": "1h"}`)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("ADD: %v\n%s", err, out)
		}
	}
	if err := state.StoreSwitch(filepath.Join(dir, "mode"), state.Switch{Mode: policy.Observe, Who: "the test"}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "halfclose"), "reaper", "--mode", "destroy", "--finder", finder)
	cmd.Env = env
	p := testnode.StartBy(t, cmd, func() error { return restricted(cmd, keep) })
	t.Cleanup(p.Stop)
	r := &restrictedReaper{testnode.New(t, dir), p}
	r.AwaitStatus()
	return r
}
