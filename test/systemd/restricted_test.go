// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// capabilities are those that the unit may leave a service, by their names.
func capabilities() map[string]uintptr {
	return map[string]uintptr{
		"CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
		"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_SYS_PTRACE": unix.CAP_SYS_PTRACE,
	}
}

// restricted starts a command as systemd does that leaves it no capability but these: as root, from a bounding
// set without the others, and with no way to get them back.
func restricted(cmd *exec.Cmd, keep []string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
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

// restrictedReaper is a reaper that runs with some capabilities only, on a state directory of its own.
type restrictedReaper struct {
	*admin.Client
	mu  sync.Mutex
	log bytes.Buffer
}

func (r *restrictedReaper) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

func (r *restrictedReaper) said(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(r.log.String(), text)
}

// startRestricted starts a reaper with that finder and those capabilities, for the containers at the paths, and waits until it
// is ready. It destroys nothing before it is told to.
func startRestricted(t *testing.T, finder string, keep []string, paths ...string) *restrictedReaper {
	t.Helper()
	needNode(t)
	dir, err := os.MkdirTemp("/run", "hc") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	store := state.New(dir)
	bin := os.Getenv(binVar)
	env := append(os.Environ(), state.EnvDir+"="+dir)
	for i, path := range paths { // by the runtime's plugin, which has all capabilities
		add := exec.Command(filepath.Join(bin, "cni/halfclose"))
		add.Env = append(env, "CNI_COMMAND=ADD", fmt.Sprintf("CNI_CONTAINERID=container%d", i), "CNI_IFNAME=eth0", "CNI_NETNS="+path, "CNI_PATH=/")
		add.Stdin = strings.NewReader(`{"cniVersion": "1.0.0", "name": "net", "type": "halfclose", "prevResult": {"cniVersion": "1.0.0"},
			"reaper": "external", "closeWaitGrace": "1s", "finWait2Grace": "1h"}`)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("ADD: %v\n%s", err, out)
		}
	}
	r := &restrictedReaper{Client: admin.NewClient(store.SocketPath())}
	cmd := exec.Command(filepath.Join(bin, "halfclose"), "reaper", "--mode", "destroy", "--finder", finder)
	cmd.Env, cmd.Stderr = env, r
	if err := state.StoreSwitch(filepath.Join(dir, "mode"), state.Switch{Mode: policy.Observe, Who: "the test"}); err != nil {
		t.Fatal(err)
	}
	if err := restricted(cmd, keep); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("the reaper ended with %v, and said:\n%s", err, &r.log)
		}
	})
	nstest.Eventually(t, soon, "the reaper has read the records", func() bool {
		s, err := r.Status(t.Context())
		return err == nil && len(s.Attachments) == len(paths)
	})
	return r
}

// socket is what the reaper says of a socket.
func (r *restrictedReaper) socket(t *testing.T, a addresses, q api.SocketQuery) (api.SocketView, []string) {
	t.Helper()
	list, err := r.Sockets(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list.Sockets {
		if v.Local == a.Local && v.Peer == a.Peer {
			return v, list.Problems
		}
	}
	return api.SocketView{}, list.Problems
}
