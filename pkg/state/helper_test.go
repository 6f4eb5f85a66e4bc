// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// record returns a record of this boot.
func record(tb testing.TB, containerID, ifname string) state.Record {
	tb.Helper()
	return state.Record{
		Version:    state.Version,
		Network:    "pods",
		Attachment: state.Attachment{ContainerID: containerID, IfName: ifname},
		Boot:       bootID(tb),
		Netns: state.Netns{
			Path:     "/run/netns/cni-1",
			Identity: netns.Identity{Cookie: 1<<63 + 1, Dev: 4, Inode: 4026532321},
		},
		Pod: state.Pod{Namespace: "shop", Name: "cart-0", UID: "8a52"},
		Layers: policy.Layers{
			Network:     layer(tb, `{"mode": "destroy", "finWait2Grace": "10m"}`),
			Annotations: map[string]string{policy.AnnotationGrace: "soon"},
		},
		Warnings: []string{`annotation halfclose.cni/grace: "soon" is no grace`},
		Time:     time.Date(2026, 3, 1, 12, 0, 0, 7, time.UTC),
	}
}

// mountTmpfs mounts a file system with the options of tmpfs(5), until the test ends, and returns its directory.
func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("halfclose", dir, "tmpfs", unix.MS_NOSUID, options)
	if errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(t, "mount a file system", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// file returns the file name of a record from record, given "<containerID>@<ifname>".
func file(attachment string) string { return attachment + ":8000000000000001-f00001e1.json" }

// layer parses a network's object.
func layer(tb testing.TB, object string) policy.Layer {
	tb.Helper()
	l, problems := policy.ParseLayer([]byte(object), policy.SourceNetwork)
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	return l
}

// compare returns how two values differ, and equal reports whether they do not.
func compare(want, got any) string {
	return cmp.Diff(want, got, cmp.AllowUnexported(policy.Layer{}), cmpopts.EquateComparable(netip.Prefix{}))
}

func equal(want, got any) bool { return compare(want, got) == "" }

func bootID(tb testing.TB) string {
	tb.Helper()
	boot, err := netns.BootID()
	if err != nil {
		tb.Fatal(err)
	}
	return boot
}

func newStore(tb testing.TB) *state.Store {
	tb.Helper()
	return state.New(filepath.Join(tb.TempDir(), "run", "halfclose"))
}

func put(tb testing.TB, s *state.Store, records ...state.Record) {
	tb.Helper()
	for _, r := range records {
		if err := s.Put(r); err != nil {
			tb.Fatal(err)
		}
	}
}

func list(tb testing.TB, s *state.Store) state.Listing {
	tb.Helper()
	l, err := s.List(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// plant creates a file among the records without the store.
func plant(tb testing.TB, s *state.Store, name, content string) string {
	tb.Helper()
	path := plantPath(tb, s, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func plantPath(tb testing.TB, s *state.Store, name string) string {
	tb.Helper()
	if err := os.MkdirAll(s.AttachmentsDir(), 0o700); err != nil {
		tb.Fatal(err)
	}
	return filepath.Join(s.AttachmentsDir(), name)
}

// age sets a file's modification time back.
func age(tb testing.TB, path string, by time.Duration) {
	tb.Helper()
	then := time.Now().Add(-by)
	if err := os.Chtimes(path, then, then); err != nil {
		tb.Fatal(err)
	}
}

// content reads a record's file.
func content(tb testing.TB, s *state.Store, a state.Attachment) string {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(s.AttachmentsDir(), file(a.ContainerID+"@"+a.IfName)))
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

// names returns all names in the directory of the records.
func names(tb testing.TB, s *state.Store) []string {
	tb.Helper()
	entries, err := os.ReadDir(s.AttachmentsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		tb.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// edit replaces a piece of text, which must occur.
func edit(tb testing.TB, text, from, to string) string {
	tb.Helper()
	if !strings.Contains(text, from) {
		tb.Fatalf("%q is not in:\n%s", from, text)
	}
	return strings.Replace(text, from, to, 1)
}
