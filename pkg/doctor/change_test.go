// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/doctor"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestLookingChangesNothing(t *testing.T) {
	dir := t.TempDir()
	store := state.New(dir)
	record(t, store, "web", nameNetns(t, "web"))
	conf := t.TempDir()
	if err := os.WriteFile(filepath.Join(conf, "10-pods.conflist"), []byte(`{"name": "pods", "plugins": [{"type": "halfclose"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const setting = "/proc/sys/net/ipv4/tcp_child_ehash_entries"
	look := func() map[string]string {
		seen := map[string]string{}
		for _, file := range []string{setting, "/proc/self/mountinfo"} {
			b, err := os.ReadFile(file)
			if err != nil && (file != setting || !errors.Is(err, fs.ErrNotExist)) {
				t.Fatal(err)
			}
			seen[file] = string(b)
		}
		for _, dir := range []string{dir, conf, "/run/netns"} {
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := d.Info()
				if err == nil {
					seen[path] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return seen
	}
	p := patient{StateDir: dir, ConfDir: conf}
	doctor.Run(t.Context(), p.config()) // what the runtime opens once it keeps open
	before, files := look(), openFiles(t)
	r := doctor.Run(t.Context(), p.config())
	has(t, r, "sock-destroy", doctor.OK, "it destroyed a connection made for it")
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	nstest.Eventually(t, patience, "no file stays open, and no thread in another namespace", func() bool {
		return openFiles(t) <= files && len(threadNamespaces(t)) == 1
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// threadNamespaces are the network namespaces of this process's threads.
func threadNamespaces(t *testing.T) map[string]bool {
	t.Helper()
	links, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil { // else it has ended
			all[to] = true
		}
	}
	return all
}
