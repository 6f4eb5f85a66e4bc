// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/adopt"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// aRecord is a record of the boot "now" with its namespace at the path.
func aRecord(name string, inode uint64) recorded {
	id := netns.Identity{Cookie: inode + 1000, Dev: 4, Inode: inode}
	return recorded{
		Record: state.Record{
			Attachment: state.Attachment{ContainerID: name, IfName: "eth0"}, Boot: "now",
			Netns: state.Netns{Path: "/run/netns/" + name, Identity: id}, Pod: state.Pod{Namespace: "shop", Name: name},
		},
		at: netns.Identity{Dev: 4, Inode: inode},
	}
}

func TestRecordsAreCheckedByTheFilesAtTheirPaths(t *testing.T) {
	plain := fmt.Errorf("open: %w: it is a plain file", netns.ErrNotNamespace)
	change := func(f func(*recorded)) recorded {
		r := aRecord("web", 1)
		f(&r)
		return r
	}
	one := want{"records", OK, "1 attachment is registered, of which 1 can be acted on from here", ""}
	none := want{"records", OK, "1 attachment is registered, of which 0 can", ""}
	for _, tt := range []struct {
		name  string
		r     records
		wants []want
	}{
		{"nothing", records{}, []want{{"records", OK, "nothing is registered", ""}}},
		{"a good one", records{list: []recorded{aRecord("web", 1)}}, []want{one}},
		{"of another boot", records{list: []recorded{change(func(r *recorded) { r.Boot, r.open = "then", plain })}}, []want{none, {"records", Info, "1 record of an earlier boot: shop/web", "prunes"}}},
		{"of a namespace that is gone", records{list: []recorded{change(func(r *recorded) { r.open = fs.ErrNotExist })}}, []want{none, {"records", Info, "1 record of namespaces that are gone: shop/web", "prunes"}}},
		{"of a path with another namespace", records{list: []recorded{change(func(r *recorded) { r.at.Inode = 2 })}}, []want{none, {"records", Info, "that are gone", "prunes"}}},
		{"of a namespace at another path", records{list: []recorded{change(func(r *recorded) { r.open, r.lives = fs.ErrNotExist, true })}}, []want{none, {
			"records", Warn, "1 record of namespaces that exist, but not at the recorded path: their other attachments are only observed: shop/web", "unregister",
		}}},
		{"a plain file here", records{list: []recorded{change(func(r *recorded) { r.open = plain })}}, []want{none, {
			"records", Fail, "1 record cannot be acted on, since /run/netns/web is no namespace here but a plain file", "-v /run/netns:/run/netns:rslave",
		}}},
		{"a plain file below the host root", records{root: "/host", list: []recorded{change(func(r *recorded) { r.open = plain })}}, []want{none, {
			"records", Fail, "a plain file", "-v /:/host:ro,rslave",
		}}},
		{"a plain file of docker's", records{list: []recorded{change(func(r *recorded) { r.open, r.Netns.Path = plain, "/run/docker/netns/1" })}}, []want{none, {
			"records", Fail, "", "-v /run/docker/netns:/run/docker/netns:rslave",
		}}},
		{"of an inaccessible process", records{list: []recorded{change(func(r *recorded) { r.open = unix.EACCES })}}, []want{none, {
			"records", Warn, "cannot be acted on from here (permission denied)", "pid-namespace",
		}}},
		{"with a warning", records{list: []recorded{change(func(r *recorded) { r.Warnings = []string{"annotation x is ignored"} })}}, []want{one, {
			"records", Warn, `1 record with warnings, such as "annotation x is ignored": shop/web`, "annotation",
		}}},
		{"many of one kind", records{list: many(5, func(r *recorded) { r.open = fs.ErrNotExist })}, []want{
			{"records", OK, "5 attachments are registered, of which 0 can", ""}, {"records", Info, "5 records of namespaces that are gone: shop/c0, shop/c1, shop/c2 and 2 more", ""},
		}},
		{"without a pod", records{list: []recorded{change(func(r *recorded) { r.Pod, r.open = state.Pod{}, fs.ErrNotExist })}}, []want{none, {"records", Info, "are gone: web", ""}}},
		{"files that are no records", records{problems: []state.Problem{{File: "x", Err: state.ErrInvalid}, {File: "y", Err: state.ErrNewer}}}, []want{
			{"records", OK, "nothing is registered", ""}, {"records", Warn, "2 files are no record (not a valid record): x, y", "upgrade"},
		}},
		{"files that are no records and name a namespace", records{
			problems: []state.Problem{{File: "x", Err: state.ErrInvalid}, {File: "y", Err: state.ErrNewer}}, observed: []state.Hold{{File: "y"}},
		}, []want{
			{"records", OK, "nothing is registered", ""}, {"records", Warn, "x, y; 1 names a namespace, which is only observed", "upgrade"},
		}},
		{"of another user", records{err: fmt.Errorf("list records: %w", unix.EACCES)}, []want{{"records", Warn, "for their owner only", "run it as root"}}},
		{"unreadable", records{err: errors.New("list records: disk")}, []want{{"records", Warn, "list records: disk", "state-dir"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.boot = "now"
			expect(t, reportRecords(tt.r), tt.wants...)
		})
	}
}

func many(n int, change func(*recorded)) (list []recorded) {
	for i := range n {
		r := aRecord(fmt.Sprintf("c%d", i), uint64(i+1))
		change(&r)
		list = append(list, r)
	}
	return list
}

func TestTheSweepIntervalFollowsTheGraces(t *testing.T) {
	graced := func(name string, inode uint64, closeWait, finWait2 time.Duration) recorded {
		r := aRecord(name, inode)
		r.Layers.Network.CloseWaitGrace, r.Layers.Network.FinWait2Grace = new(policy.Patience(closeWait)), new(policy.Patience(finWait2))
		return r
	}
	off, never, gone := aRecord("off", 4), graced("never", 5, time.Duration(policy.Never), time.Duration(policy.Never)), aRecord("gone", 6)
	off.Layers.Network.Mode, gone.open = new(policy.Off), fs.ErrNotExist
	never.Layers.Network.ProbeAfter = new(policy.Never)
	r := records{boot: "now", list: []recorded{
		graced("a", 1, 40*time.Second, time.Hour), graced("b", 2, time.Second, time.Second), graced("c", 3, time.Hour, time.Hour), // its peers are probed after 90 s
		graced("a2", 1, 80*time.Second, time.Hour), // in a's namespace: the longer grace applies
		off, never, gone,
	}}
	got := r.intervals()
	slices.Sort(got)
	if want := []time.Duration{time.Second, 20 * time.Second, 22500 * time.Millisecond}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestUnregisteredNamespacesAreReported(t *testing.T) {
	at := func(path string, inode uint64) adopt.NamedNetns {
		return adopt.NamedNetns{Path: path, ID: netns.Identity{Dev: 4, Inode: inode}}
	}
	n := named{all: []adopt.NamedNetns{at("/run/netns/other", 2), at("/run/netns/web", 1)}}
	web := aRecord("web", 1)
	expect(t, reportNamed(n, records{boot: "now", list: []recorded{web}}),
		want{"unregistered", Info, "1 named network namespace is not registered (created without CNI, or before halfclose was chained): /run/netns/other", "halfclose register /run/netns/other"})
	expect(t, reportNamed(n, records{boot: "now", list: []recorded{web, aRecord("other", 2)}}),
		want{"unregistered", OK, "every named network namespace is registered (2 namespaces)", ""})
	expect(t, reportNamed(n, records{boot: "later", list: []recorded{web, aRecord("other", 2)}}), // inode numbers are valid for one boot
		want{"unregistered", Info, "2 named network namespaces are not registered (created without CNI, or before halfclose was chained): /run/netns/other, /run/netns/web", ""})
	expect(t, reportNamed(named{}, records{}), want{"unregistered", OK, "there is no named network namespace", ""})
	expect(t, reportNamed(n, records{err: unix.EACCES}), want{"unregistered", Warn, "cannot be compared: permission denied", "records"})
	expect(t, reportNamed(named{err: errors.New("no /proc")}, records{}), want{"unregistered", Warn, "no /proc", ""})
}
