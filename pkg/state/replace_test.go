// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// moved is a record of the same attachment in another netns, written later.
func moved(r state.Record) state.Record {
	r.Netns.Cookie, r.Netns.Inode, r.Time = 7, 8, r.Time.Add(time.Second)
	return r
}

const movedFile = "c@eth0:7-8.json"

func TestPutOfAnotherNetnsRemovesTheOlderRecord(t *testing.T) {
	s := newStore(t)
	old, others := record(t, "c", "eth0"), []state.Record{record(t, "c", "eth0.json"), record(t, "c", "eth00"), record(t, "c", "net1"), record(t, "cc", "eth0")}
	put(t, s, old)
	put(t, s, others...)
	age(t, filepath.Join(s.AttachmentsDir(), file("c@eth0")), time.Minute)
	put(t, s, moved(old))
	if diff := compare(state.Listing{Records: append([]state.Record{moved(old)}, others...)}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if got, err := s.Get(old.Attachment); err != nil || !equal(got, moved(old)) {
		t.Errorf("Get = %+v, %v, want the new one", got, err)
	}
}

// After a killed Put, each netns still has the policies that it had.
func TestAKilledPutOfAnotherNetnsLeavesTheOlderRecord(t *testing.T) {
	s := newStore(t)
	old := record(t, "c", "eth0")
	next := moved(old)
	put(t, s, next)
	text, err := os.ReadFile(filepath.Join(s.AttachmentsDir(), movedFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(next.Attachment); err != nil {
		t.Fatal(err)
	}
	put(t, s, old)
	interrupt(t, s, string(text)) // before its rename
	if diff := compare(state.Listing{Records: []state.Record{old}}, list(t, s)); diff != "" {
		t.Errorf("before the rename (-want +got):\n%s", diff)
	}
	plant(t, s, movedFile, string(text)) // before it removes the older file
	if diff := compare([]state.Record{old, next}, list(t, s).Records); diff != "" {
		t.Errorf("after the rename (-want +got):\n%s", diff)
	}
	if got, err := s.Get(old.Attachment); err != nil || !equal(got, next) {
		t.Errorf("Get = %+v, %v, want the newer one", got, err)
	}
	plant(t, s, movedFile, "") // damaged besides: it holds its own netns, and the older one stands
	l := list(t, s)
	if len(l.Holds) != 1 || l.Holds[0].Netns != state.KeyOf(next.Netns.Identity) || !equal(l.Records, []state.Record{old}) {
		t.Errorf("with the newer one damaged: %+v", l)
	}
	if err := s.Delete(old.Attachment); err != nil {
		t.Fatal(err)
	}
	if l := list(t, s); len(l.Records)+len(l.Holds) > 0 {
		t.Errorf("after Delete: %+v", l)
	}
}

func TestConcurrentPutsOfTwoNetnsLeaveOne(t *testing.T) {
	for range 200 {
		s := newStore(t)
		old := record(t, "c", "eth0")
		var both sync.WaitGroup
		for _, r := range []state.Record{old, moved(old)} {
			both.Go(func() {
				if err := s.Put(r); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		if l := list(t, s); len(l.Records) == 0 || len(l.Problems) > 0 {
			t.Fatalf("left are %+v, want at least one record", l)
		}
	}
}

func TestDeleteRemovesEachFileOfItsAttachment(t *testing.T) {
	s := newStore(t)
	stays := record(t, "c", "eth00")
	put(t, s, stays)
	for _, name := range []string{file("c@eth0"), movedFile, "c@eth0:damaged.json"} {
		plant(t, s, name, "")
	}
	if err := s.Delete(state.Attachment{ContainerID: "c", IfName: "eth0"}); err != nil {
		t.Fatal(err)
	}
	if diff := compare([]string{file("c@eth00")}, names(t, s)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestTheRecordsOfAContainerCanBeDroppedFromAFullDisk(t *testing.T) {
	dir := mountTmpfs(t, "mode=700,size=64k,nr_inodes=8")
	s := state.New(dir)
	in := state.Netns{Path: "/run/netns/it", Identity: netns.Identity{Cookie: 77, Inode: 78}}
	stays, shares := record(t, "other", "eth0"), record(t, "by-hand", state.ManualIfName)
	stays.Netns.Identity, shares.Netns = netns.Identity{Cookie: 1, Inode: 79}, in
	put(t, s, record(t, "c", "eth0"), record(t, "c", "net1"), stays, shares)
	plant(t, s, file("c@net2"), "damaged")
	for { // until neither a block nor an inode is left
		f, err := os.CreateTemp(dir, "filler")
		if err == nil {
			_, err = f.WriteString(strings.Repeat("x", 16<<10))
			err = errors.Join(err, f.Close())
		}
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(record(t, "c", "net3")); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Put = %v, want ENOSPC", err)
	}
	files, err := s.DeleteSharing("c", in)
	if diff := compare([]string{"by-hand@manual:4d-4e.json", file("c@eth0"), file("c@net1"), file("c@net2")}, files); diff != "" || err != nil {
		t.Errorf("DeleteSharing (-want +got, %v):\n%s", err, diff)
	}
	if diff := compare(state.Listing{Records: []state.Record{stays}}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if files, err := s.DeleteSharing("c", in); len(files) > 0 || err != nil {
		t.Errorf("a second time: %q, %v", files, err)
	}
}

func TestAnOlderFileThatCannotBeRemovedIsAnError(t *testing.T) {
	s := newStore(t)
	r := record(t, "c", "eth0")
	// Not even root can unlink a directory that has entries.
	stuck := filepath.Join(plantPath(t, s, "c@eth0:1-2.json"), "x")
	if err := os.MkdirAll(stuck, 0o700); err != nil {
		t.Fatal(err)
	}
	age(t, filepath.Dir(stuck), time.Minute)
	if err := s.Put(r); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("Put = %v, want ENOTEMPTY", err)
	}
	l := list(t, s)
	if len(l.Records) != 1 || len(l.Holds) != 1 || l.Holds[0].Netns != (state.NetnsKey{Cookie: 1, Inode: 2}) {
		t.Errorf("%+v, want the new record, and the netns of the other held", l)
	}
	if err := os.Remove(stuck); err != nil {
		t.Fatal(err)
	}
	put(t, s, r) // the directory is empty, and is removed
	if _, err := os.Lstat(filepath.Dir(stuck)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lstat: %v", err)
	}
}

func TestRecordsOfANetnsAreFoundByIdentityOrPath(t *testing.T) {
	id := netns.Identity{Cookie: 77, Inode: 78}
	const path = "/run/netns/it"
	for _, tc := range []struct {
		name string
		in   state.Netns
		want int // number of removed records, of two with this netns in content or name
	}{
		{"its identity, by another path", state.Netns{Path: "/proc/7/ns/net", Identity: id}, 2},
		{"its cookie and a wrong inode number", state.Netns{Identity: netns.Identity{Cookie: 77, Inode: 1}}, 2},
		{"its path, as its identity is not known", state.Netns{Path: path}, 1},
		{"another identity at its path", state.Netns{Path: path, Identity: netns.Identity{Cookie: 5, Inode: 6}}, 0},
		{"nothing", state.Netns{}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStore(t)
			whole := record(t, "by-hand", state.ManualIfName)
			whole.Netns = state.Netns{Path: path, Identity: id}
			stays := record(t, "other", "eth0")
			stays.Netns = state.Netns{Path: "/run/netns/other", Identity: netns.Identity{Cookie: 1, Inode: 2}}
			put(t, s, whole, stays)
			plant(t, s, "damaged@eth0:4d-4e.json", "damaged")
			files, err := s.DeleteSharing("c", tc.in)
			if len(files) != tc.want || err != nil {
				t.Errorf("removed %q, %v, want %d", files, err, tc.want)
			}
			if l := list(t, s); len(l.Records)+len(l.Problems) != 3-tc.want {
				t.Errorf("left are %+v", l)
			}
		})
	}
}
