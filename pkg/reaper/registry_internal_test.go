// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"maps"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// recordOf is a record of the namespace with that inode number.
func recordOf(inode uint64, ifname string, change ...func(*state.Record)) state.Record {
	r := state.Record{
		Attachment: state.Attachment{ContainerID: "c", IfName: ifname}, Layers: LayersOf(policy.Default()),
		Netns: state.Netns{Path: "/run/netns/a", Identity: netns.Identity{Cookie: inode, Dev: 4, Inode: inode}},
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func with(change func(*policy.Policy)) func(*state.Record) {
	return func(r *state.Record) {
		p := r.Layers.Resolve(0).Policies[0]
		change(&p)
		r.Layers = LayersOf(p)
	}
}

func TestRegistryUpdate(t *testing.T) {
	grace := func(d time.Duration) func(*state.Record) {
		return with(func(p *policy.Policy) { p.CloseWaitGrace = policy.Patience(d) })
	}
	at := func(path string) func(*state.Record) { return func(r *state.Record) { r.Netns.Path = path } }
	type effect struct {
		Known, Removed, Repolicy []uint64 // by inode
		Targets                  bool
	}
	for name, tc := range map[string]struct {
		before, after []state.Record
		want          effect
	}{
		"a first record":    {nil, []state.Record{recordOf(1, "eth0")}, effect{Known: []uint64{1}, Targets: true}},
		"the same again":    {[]state.Record{recordOf(1, "eth0")}, []state.Record{recordOf(1, "eth0")}, effect{Known: []uint64{1}}},
		"the last one gone": {[]state.Record{recordOf(1, "eth0")}, nil, effect{Removed: []uint64{1}, Targets: true}},
		"one replaced by that of another namespace": {
			[]state.Record{recordOf(1, "eth0")},
			[]state.Record{recordOf(2, "eth0")},
			effect{Known: []uint64{2}, Removed: []uint64{1}, Targets: true},
		},
		"one more attachment of a namespace": {
			[]state.Record{recordOf(1, "eth0")}, []state.Record{recordOf(1, "eth0"), recordOf(1, "eth1")}, effect{Known: []uint64{1}},
		},
		"one less": {
			[]state.Record{recordOf(1, "eth0"), recordOf(1, "eth1")}, []state.Record{recordOf(1, "eth1")}, effect{Known: []uint64{1}},
		},
		"one more that is more conservative": {
			[]state.Record{recordOf(1, "eth0")},
			[]state.Record{recordOf(1, "eth0"), recordOf(1, "eth1", grace(2*time.Hour))},
			effect{Known: []uint64{1}, Repolicy: []uint64{1}},
		},
		"one more that is less conservative": {
			[]state.Record{recordOf(1, "eth0")},
			[]state.Record{recordOf(1, "eth0"), recordOf(1, "eth1", grace(time.Second))},
			effect{Known: []uint64{1}, Repolicy: []uint64{1}},
		},
		"a shorter grace, by which it is looked at more often": {
			[]state.Record{recordOf(1, "eth0")},
			[]state.Record{recordOf(1, "eth0", grace(20*time.Second))},
			effect{Known: []uint64{1}, Repolicy: []uint64{1}, Targets: true},
		},
		"another path to the same namespace": {
			[]state.Record{recordOf(1, "eth0")},
			[]state.Record{recordOf(1, "eth0", at("/run/netns/b"))},
			effect{Known: []uint64{1}, Targets: true},
		},
		"mode off, by which there is nothing to look for": {
			[]state.Record{recordOf(1, "eth0")},
			[]state.Record{recordOf(1, "eth0", with(func(p *policy.Policy) { p.Mode = policy.Off }))},
			effect{Known: []uint64{1}, Repolicy: []uint64{1}, Targets: true},
		},
		"an inode number that was reused": {
			[]state.Record{recordOf(1, "eth0")},
			[]state.Record{recordOf(1, "eth0", func(r *state.Record) { r.Netns.Cookie = 99 })},
			effect{Known: []uint64{1}, Removed: []uint64{1}, Targets: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry()
			updateTo(r, moment(0), tc.before...)
			before := maps.Clone(r.namespaces)
			ch := updateTo(r, moment(time.Second), tc.after...)

			inodes := func(list []*registered) (found []uint64) {
				for _, ns := range list {
					found = append(found, ns.Identity.Inode)
				}
				slices.Sort(found)
				return found
			}
			got := effect{inodes(slices.Collect(maps.Values(r.namespaces))), inodes(ch.removed), inodes(ch.repolicy), ch.targets}
			if diff := gocmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for id, ns := range r.namespaces {
				if before[id] != nil && before[id] != ns {
					t.Errorf("%v is registered again, and its candidates are not restored", id)
				}
			}
		})
	}
}

func TestRegistryTargets(t *testing.T) {
	r := newRegistry()
	never := with(func(p *policy.Policy) {
		p.CloseWaitGrace, p.FinWait2Grace, p.ProbeAfter = policy.Never, policy.Never, policy.Never
	})
	updateTo(r, moment(0), []state.Record{
		recordOf(1, "eth0"),
		recordOf(1, "eth1", func(r *state.Record) { r.Netns.Path = "/proc/7/ns/net" }),
		recordOf(1, "eth2"),
		recordOf(2, "eth0", never),
		recordOf(3, "eth0", with(func(p *policy.Policy) { p.Mode = policy.Off })),
	}...)
	want := []finder.Netns{{
		Identity: netns.Identity{Cookie: 1, Dev: 4, Inode: 1}, Paths: []string{"/run/netns/a", "/proc/7/ns/net"}, Interval: 22500 * time.Millisecond, Patience: 90 * time.Second, Grace: time.Hour, Repair: time.Minute,
	}}
	for _, inode := range []uint64{2, 3} { // in which the reaper may not act, but which may have the other ends of connections
		want = append(want, finder.Netns{
			Identity: netns.Identity{Cookie: inode, Dev: 4, Inode: inode}, Paths: []string{"/run/netns/a"}, Interval: want[0].Interval, Patience: time.Duration(policy.Never), Grace: time.Duration(policy.Never), Repair: time.Minute,
		})
	}
	got := r.targets()
	slices.SortFunc(got, func(a, b finder.Netns) int { return cmp.Compare(a.Identity.Inode, b.Identity.Inode) })
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	updateTo(r, moment(1), recordOf(2, "eth0", never), recordOf(3, "eth0", never))
	if got := r.targets(); len(got) != 0 {
		t.Errorf("without any in which something can be done, looked at are %v", got)
	}
}
