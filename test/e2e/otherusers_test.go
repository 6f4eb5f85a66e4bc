// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
)

// TestOtherUsersReadNothingInAStateDirectoryThatTheyMayList has a state directory with the mode that the kubelet gives to a
// hostPath, with everything that plugin, reaper and commands write there.
func TestOtherUsersReadNothingInAStateDirectoryThatTheyMayList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c := newContainer(t, nil)
	if r := run(t, w.plugin("ADD", c.attachment(), c.path, pluginConf(external+`, "grace": "1s"`))); r.code != 0 {
		t.Fatalf("ADD: %+v", r)
	}
	leak(t, c)
	p := w.start(t)
	w.AwaitStatus()
	for _, args := range [][]string{{"mode", "observe"}, {"mode", "destroy"}} {
		if r := w.run(t, args...); r.code != 0 {
			t.Fatalf("%q: %+v", args, r)
		}
	}
	w.AwaitEntries("a leak is in the history", func(entries []api.Entry) bool { return len(entries) > 0 })
	p.Stop() // which saves the ages
	w.start(t)
	w.AwaitStatus()
	var files []string
	nstest.Eventually(t, testnode.Patience, "every kind of file is there", func() bool {
		files = nil
		if err := filepath.WalkDir(w.dir, func(path string, _ fs.DirEntry, err error) error {
			files = append(files, path)
			return err
		}); err != nil {
			return false // a temporary file has gone
		}
		all := strings.Join(files, "\n")
		for _, name := range []string{"/attachments/", "/reaper.lock", "/reaper.sock", "/candidates", "/mode", "/history/"} {
			if !strings.Contains(all, name) {
				return false
			}
		}
		return true
	})
	info, err := os.Stat(w.dir)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the directory has mode %v: the test proves nothing", info.Mode())
	}
	for _, path := range files[1:] {
		info, err := os.Lstat(path)
		if err != nil {
			continue
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if info.IsDir() {
			continue
		}
		if out, err := asOtherUser("cat", path).CombinedOutput(); err == nil {
			t.Errorf("another user reads %s: %.200s", path, out)
		}
	}
	status := asOtherUser(halfclose(), "--state-dir", w.dir, "status")
	if out, err := status.CombinedOutput(); err == nil || !strings.Contains(string(out), "belongs to another user: run this as root") {
		t.Errorf("another user gets the status: %v\n%s", err, out)
	}
}

// asOtherUser returns a command that runs as a user without privileges.
func asOtherUser(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd
}
