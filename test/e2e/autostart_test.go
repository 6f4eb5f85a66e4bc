// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/policy"
)

func TestAddReturnsWhileTheReaperThatItStartedGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)

	leaked, err := os.Create(filepath.Join(t.TempDir(), "leaked"))
	if err != nil {
		t.Fatal(err)
	}
	defer leaked.Close()
	add := w.plugin("ADD", c.attachment(), c.path, pluginConf(""))
	add.ExtraFiles = []*os.File{leaked, leaked, leaked} // without close-on-exec in the plugin
	add.Env = append(add.Env, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=x", "NOTIFY_SOCKET=/n", "SECRET=x")
	add.Dir = t.TempDir()
	// run waits for EOF on the plugin's stdout and stderr, as libcni does: it returns only when nobody has
	// them any more.
	if r := run(t, add); r.code != 0 || r.stderr != "" {
		t.Fatalf("ADD: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}

	pid := w.status(t).Holder.PID
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	for kv := range strings.SplitSeq(string(environ), "\x00") {
		for _, bad := range []string{"CNI_", "NOTIFY_SOCKET", "SECRET"} {
			if strings.HasPrefix(kv, bad) {
				t.Errorf("its environment has %s", kv)
			}
		}
	}
	for fd, target := range descriptors(t, pid) {
		if fd <= 2 && target != "/dev/null" || target == leaked.Name() || strings.HasPrefix(target, "pipe:") {
			t.Errorf("its descriptor %d is %s", fd, target)
		}
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("its session is %d (%v), not its own, %d", sid, err, pid)
	}
	if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || dir != "/" {
		t.Errorf("its directory is %s (%v)", dir, err)
	}
}

// descriptors returns what each open descriptor of a process leads to.
func descriptors(t *testing.T, pid int) map[int]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[int]string)
	for _, e := range entries {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err != nil {
			t.Fatal(err)
		}
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil { // else closed meanwhile
			all[fd] = target
		}
	}
	return all
}

func TestAddWithAReaperThatIsExternalStartsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	w.add(t, network(t, `"reaper": "auto"`, `"reaper": "external"`), c)
	if _, err := os.Stat(w.store.LockPath()); !os.IsNotExist(err) {
		t.Errorf("a reaper has been there: %v", err)
	}
}

func TestTheSwitchInTheStateDirectoryCapsTheMode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add(t, network(t), newContainer(t, nil))
	s := w.status(t)
	if s.Mode.Effective != policy.Destroy {
		t.Errorf("the mode is %v before the switch is set", s.Mode.Effective)
	}
	setSwitch(t, w, policy.Observe)
	eventuallyMode(t, w, policy.Observe)
	setSwitch(t, w, policy.Destroy)
	eventuallyMode(t, w, policy.Destroy)
}
