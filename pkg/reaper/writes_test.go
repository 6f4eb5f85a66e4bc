// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// small mounts a file system with few inodes on the state directory of a node.
func (n *node) small(t *testing.T) {
	t.Helper()
	dir := n.store.Dir()
	if err := unix.Mount("halfclose", dir, "tmpfs", unix.MS_NOSUID, "mode=700,size=4m,nr_inodes=50"); err != nil {
		if errors.Is(err, unix.EPERM) {
			nstest.NeedPrivilege(t, "mount a file system", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// filler uses the inodes of a directory's file system.
type filler struct {
	dir   string
	names []string
}

// fill uses all free inodes. A program that replaces a file frees one again.
func (f *filler) fill(t *testing.T) {
	t.Helper()
	for range 1000 {
		name := filepath.Join(f.dir, "filler-"+strconv.Itoa(len(f.names)))
		err := os.WriteFile(name, nil, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		f.names = append(f.names, name)
	}
	t.Fatal("the file system never fills up")
}

// free removes the files.
func (f *filler) free(t *testing.T) {
	t.Helper()
	for _, name := range f.names {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

// TestAFullStateDirectoryIsReportedForAsLongAsItIsFull fills the file system on which the plugin would write records, and the
// reaper its ages. Known pods are still judged.
func TestAFullStateDirectoryIsReportedForAsLongAsItIsFull(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns, n := newNS(t), offNode(t)
		n.small(t)
		n.start(finder)
		names := func() (list []string) {
			s, err := n.Status(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range s.Unwritable {
				if u.Problem == "" || u.Path == "" || u.Since.IsZero() || u.Errors == 0 {
					t.Errorf("incomplete: %+v", u)
				}
				list = append(list, u.Name)
			}
			m, err := n.Metrics(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range api.UnwritableNames() {
				unwritable, known := m.Unwritable[name]
				if errs, counted := m.WriteErrors[name]; !known || !counted || unwritable && errs == 0 {
					t.Errorf("metrics of %s: %v %v", name, m.Unwritable, m.WriteErrors)
				}
			}
			return list
		}
		if list := names(); len(list) != 0 {
			t.Fatalf("unwritable at the start: %v", list)
		}
		n.register(ns, timing(inetdiag.CloseWait, 300*time.Millisecond))
		f := filler{dir: n.store.Dir()}
		f.fill(t)
		leak := end(shut(t, ns.Connect(t, nstest.IPv4)), inetdiag.CloseWait)
		n.awaitDestroyed(leak)
		nstest.Eventually(t, patience, "both directories and the ages are reported", func() bool {
			f.fill(t)
			list := names()
			return slices.Contains(list, api.UnwritableAttachments) && slices.Contains(list, api.UnwritablePersistent) &&
				slices.Contains(list, api.UnwritableCandidates)
		})
		f.free(t)
		shut(t, ns.Connect(t, nstest.IPv4)) // a change of the ages
		nstest.Eventually(t, patience, "nothing is reported", func() bool { return len(names()) == 0 })
	})
}
