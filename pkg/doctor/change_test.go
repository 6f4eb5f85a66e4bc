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

func TestTheChecksChangeNothing(t *testing.T) {
	dir := t.TempDir()
	store := state.New(dir)
	record(t, store, "web", nameNetns(t, "web"))
	conf := t.TempDir()
	if err := os.WriteFile(filepath.Join(conf, "10-pods.conflist"), []byte(`{"name": "pods", "plugins": [{"type": "halfclose"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const setting = "/proc/sys/net/ipv4/tcp_child_ehash_entries"
	snapshot := func() map[string]string {
		files := map[string]string{}
		for _, file := range []string{setting, "/proc/self/mountinfo"} {
			b, err := os.ReadFile(file)
			if err != nil && (file != setting || !errors.Is(err, fs.ErrNotExist)) {
				t.Fatal(err)
			}
			files[file] = string(b)
		}
		for _, dir := range []string{dir, conf, "/run/netns"} {
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := d.Info()
				if err == nil {
					files[path] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return files
	}
	p := patient{StateDir: dir, ConfDir: conf}
	doctor.Run(t.Context(), p.config()) // the Go runtime keeps some files open
	before, open := snapshot(), openFiles(t)
	r := doctor.Run(t.Context(), p.config())
	has(t, r, "sock-destroy", doctor.OK, "it destroyed a connection created for this test")
	if diff := cmp.Diff(before, snapshot()); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	nstest.Eventually(t, patience, "every file is closed, and every thread in one namespace", func() bool {
		return openFiles(t) <= open && len(threadNamespaces(t)) == 1
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

// threadNamespaces returns the network namespaces of this process's threads.
func threadNamespaces(t *testing.T) map[string]bool {
	t.Helper()
	links, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil { // otherwise the thread has exited
			all[to] = true
		}
	}
	return all
}
