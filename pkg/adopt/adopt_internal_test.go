// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/dirwatch"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestARunningContainerGetsTheRecordOfAnADDOfToday(t *testing.T) {
	n := newNode(t)
	a, _ := n.containers()
	file := n.cache("a", cached("a", a.Path(), nstest.LinkA))
	r := n.pass()
	if reason := n.reason(r, "a"); reason != "" {
		t.Fatalf("not adopted: %s", reason)
	}
	want := n.recordOf("a", a)
	want.Version, want.Adopted, want.AdoptedFrom = state.Version, true, file
	want.Pod = state.Pod{Namespace: "shop", Name: "a", UID: "u-a"}
	want.Layers = policy.Layers{
		Network:     policy.Layer{Source: policy.SourceNetwork, Values: policy.Values{Grace: new(policy.Patience(10 * time.Minute))}},
		Annotations: map[string]string{"halfclose.cni/grace": "2s"},
	}
	diff := cmp.Diff([]state.Record{want}, n.records(), cmp.AllowUnexported(policy.Layer{}), cmpopts.EquateComparable(netip.Prefix{}),
		cmpopts.IgnoreFields(state.Record{}, "Time"))
	if diff != "" {
		t.Errorf("record (-want +got)\n%s", diff)
	}
	if want.Netns.Cookie == 0 {
		t.Error("the network namespace has no cookie")
	}
	if v := r.View; v.Adopted != 1 || v.Adoptable != 0 || len(v.Skipped) != 0 {
		t.Errorf("view %+v", v)
	}
	again := n.pass()
	if n.reason(again, "a") != api.AdoptRegistered || again.View.Adopted != 1 {
		t.Errorf("the next pass: %+v", again)
	}
}

// TestNotAdopted has each input that is wrong, beside one that is right.
func TestNotAdopted(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *testing.T, n *node, a, b *nstest.NS) // of the entry "b", which is right before
		want   api.AdoptionReason
	}{
		"nothing is wrong": {func(*testing.T, *node, *nstest.NS, *nstest.NS) {}, ""},
		"an entry of the last boot": {func(_ *testing.T, n *node, _, _ *nstest.NS) {
			n.age("b", bootTime(n.cfg.Clock, time.Now()).Add(-time.Minute))
		}, api.AdoptStale},
		"an entry that a clock ahead of today's has written": {func(_ *testing.T, n *node, _, _ *nstest.NS) {
			n.age("b", time.Now().Add(time.Hour))
		}, api.AdoptStale},
		"a process that is another container's now": {func(t *testing.T, n *node, a, _ *nstest.NS) {
			n.cache("b", cached("b", startIn(t, a), nstest.LinkB))
		}, api.AdoptUnproven},
		"a process that is the host's now": {func(_ *testing.T, n *node, _, _ *nstest.NS) {
			n.cache("b", cached("b", fmt.Sprintf("/proc/%d/ns/net", os.Getpid()), nstest.LinkB))
		}, api.AdoptHostNetns},
		"a process that is gone": {func(_ *testing.T, n *node, _, _ *nstest.NS) {
			n.cache("b", cached("b", "/proc/4194303/ns/net", nstest.LinkB))
		}, api.AdoptNoNetns},
		"a path to a plain file": {func(_ *testing.T, n *node, _, _ *nstest.NS) {
			n.cache("b", cached("b", n.write("netns/plain", ""), nstest.LinkB))
		}, api.AdoptNoNetns},
		"a relative path": {func(_ *testing.T, n *node, _, _ *nstest.NS) {
			n.cache("b", cached("b", "netns/b", nstest.LinkB))
		}, api.AdoptUnreadable},
		"the same address in two namespaces, and no path": {func(_ *testing.T, n *node, _, b *nstest.NS) {
			c, d := n.containers() // d has the same address as b
			n.name("b", b)
			n.name("c", c)
			n.name("d", d)
			n.cache("b", cached("b", "", nstest.LinkB))
		}, api.AdoptAmbiguous},
		"no path and no namespace with the address": {func(_ *testing.T, n *node, a, _ *nstest.NS) {
			n.name("a", a)
			n.cache("b", cached("b", "", nstest.LinkB))
		}, api.AdoptNoNetns},
		"no interface of that name": {func(_ *testing.T, n *node, _, b *nstest.NS) {
			n.cache("b", cached("b", b.Path(), nstest.LinkB).with(object{"ifName": "eth7"}))
		}, api.AdoptUnproven},
		"the address of another interface of the result": {func(_ *testing.T, n *node, _, b *nstest.NS) {
			r := result(nstest.LinkB, b.Path()).with(object{"ips": []object{{"interface": 0, "address": nstest.LinkB + "/24"}}})
			n.cache("b", cached("b", b.Path(), nstest.LinkB).with(object{"result": r}))
		}, api.AdoptUnproven},
		"a loopback address alone": {func(_ *testing.T, n *node, _, b *nstest.NS) {
			n.cache("b", cached("b", b.Path(), "127.0.0.1").with(object{"ifName": "lo", "result": object{"cniVersion": "1.0.0", "ips": []object{{"address": "127.0.0.1/8"}}}}))
		}, api.AdoptUnproven},
		"no result": {func(_ *testing.T, n *node, _, b *nstest.NS) {
			n.cache("b", cached("b", b.Path(), nstest.LinkB).with(object{"result": nil}))
		}, api.AdoptUnreadable},
		"a result of no known version": {func(_ *testing.T, n *node, _, b *nstest.NS) {
			n.cache("b", cached("b", b.Path(), nstest.LinkB).with(object{"result": object{"cniVersion": "9.0.0"}}))
		}, api.AdoptUnreadable},
		"an empty entry":         {func(_ *testing.T, n *node, _, _ *nstest.NS) { n.cache("b", "") }, api.AdoptUnreadable},
		"an entry that is cut":   {func(t *testing.T, n *node, _, _ *nstest.NS) { n.cut("b") }, api.AdoptUnreadable},
		"an entry of libcni 0.7": {func(_ *testing.T, n *node, _, _ *nstest.NS) { n.cache("b", `{"cniVersion":"0.4.0","ips":[]}`) }, api.AdoptUnreadable},
		"an entry of another kind": {func(_ *testing.T, n *node, _, b *nstest.NS) {
			n.cache("b", cached("b", b.Path(), nstest.LinkB).with(object{"kind": "cniCacheV2"}))
		}, api.AdoptUnreadable},
		"a container ID that is a path": {func(_ *testing.T, n *node, _, b *nstest.NS) {
			n.cache("b", cached("../b", b.Path(), nstest.LinkB))
		}, api.AdoptUnreadable},
		"JSON of 100,000 levels": {func(_ *testing.T, n *node, _, _ *nstest.NS) {
			n.cache("b", `{"kind":"cniCacheV1","result":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+"}")
		}, api.AdoptUnreadable},
		"a file of 5 MiB": {func(t *testing.T, n *node, _, _ *nstest.NS) {
			if err := os.Truncate(filepath.Join(n.dir, cacheName("b")), 5<<20); err != nil {
				t.Fatal(err)
			}
		}, api.AdoptUnreadable},
		"a FIFO": {func(t *testing.T, n *node, _, _ *nstest.NS) {
			path := filepath.Join(n.dir, cacheName("b"))
			if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, api.AdoptUnreadable},
		"a symbolic link": {func(t *testing.T, n *node, _, _ *nstest.NS) {
			path := filepath.Join(n.dir, cacheName("b"))
			if err := errors.Join(os.Rename(path, n.dir+"/elsewhere"), os.Symlink(n.dir+"/elsewhere", path)); err != nil {
				t.Fatal(err)
			}
		}, api.AdoptUnreadable},
		"a network without our entry": {func(_ *testing.T, n *node, _, b *nstest.NS) {
			n.network("plain", object{"type": "bridge"})
			n.cache("b", cached("b", b.Path(), nstest.LinkB).with(object{"networkName": "plain"}))
		}, api.AdoptNotChained},
		"a network without a configuration": {func(_ *testing.T, n *node, _, b *nstest.NS) {
			n.cache("b", cached("b", b.Path(), nstest.LinkB).with(object{"networkName": "none"}))
		}, api.AdoptNoNetwork},
		"an ADD has registered it": {func(t *testing.T, n *node, _, b *nstest.NS) {
			if err := n.store.Put(n.recordOf("b", b)); err != nil {
				t.Fatal(err)
			}
		}, api.AdoptRegistered},
		"its record is damaged": {func(t *testing.T, n *node, _, b *nstest.NS) {
			r := n.recordOf("b", b)
			name, err := r.FileName()
			if err := errors.Join(err, n.store.Put(r), os.Truncate(filepath.Join(n.store.AttachmentsDir(), name), 10)); err != nil {
				t.Fatal(err)
			}
		}, api.AdoptRegistered},
		"an ADD has registered its interface for another container": {func(t *testing.T, n *node, _, b *nstest.NS) {
			if err := n.store.Put(n.recordOf("later", b)); err != nil {
				t.Fatal(err)
			}
		}, api.AdoptAmbiguous},
		"a later entry has its interface": {func(_ *testing.T, n *node, _, b *nstest.NS) {
			n.age("b", time.Now().Add(-time.Second))
			n.cache("later", cached("later", b.Path(), nstest.LinkB))
		}, api.AdoptAmbiguous},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			a, b := n.containers()
			n.cache("a", cached("a", a.Path(), nstest.LinkA))
			n.cache("b", cached("b", b.Path(), nstest.LinkB))
			tt.change(t, n, a, b)
			r := n.adopter().pass(t.Context(), true)
			if got := n.reason(r, "b"); got != tt.want {
				t.Errorf("b: %q, want %q: %+v", got, tt.want, r.Entries)
			}
			if tt.want != "" && r.View.Skipped[tt.want] != 1 {
				t.Errorf("skipped %v, want one %s", r.View.Skipped, tt.want)
			}
			if got := n.reason(r, "a"); got != "" {
				t.Errorf("its neighbour is not adopted: %s", got)
			}
			if _, err := n.store.Get(attachmentOf("a")); err != nil {
				t.Error(err)
			}
		})
	}
}

// age sets the time at which an entry was written.
func (n *node) age(id string, at time.Time) {
	n.t.Helper()
	if err := os.Chtimes(filepath.Join(n.dir, cacheName(id)), at, at); err != nil {
		n.t.Fatal(err)
	}
}

// cut cuts an entry, as a reader sees it while libcni writes it.
func (n *node) cut(id string) {
	n.t.Helper()
	path := filepath.Join(n.dir, cacheName(id))
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()-1)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

func TestProofsOfTheRightContainer(t *testing.T) {
	for name, change := range map[string]func(n *node, ns *nstest.NS) object{
		"a process's path": func(n *node, ns *nstest.NS) object {
			return cached("a", startIn(n.t, ns), nstest.LinkA)
		},
		"the sandbox of libcni before 1.2": func(_ *node, ns *nstest.NS) object {
			return cached("a", "", nstest.LinkA).with(object{"result": result(nstest.LinkA, ns.Path())})
		},
		"the address, without a path": func(n *node, ns *nstest.NS) object {
			n.name("a", ns)
			n.name("a-again", ns) // two names of one
			return cached("a", "", nstest.LinkA)
		},
		"the address, without a sandbox and an interface": func(_ *node, ns *nstest.NS) object {
			return cached("a", ns.Path(), "").with(object{"result": object{"cniVersion": "0.4.0", "ips": []object{{"version": "4", "address": nstest.LinkA + "/24"}}}})
		},
		"the MAC alone": func(n *node, ns *nstest.NS) object {
			return cached("a", ns.Path(), "").with(object{"result": object{
				"cniVersion": "1.0.0", "interfaces": []object{{"name": nstest.LinkName, "mac": strings.ToUpper(macOf(n.t, ns)), "sandbox": ns.Path()}},
			}})
		},
		"an IPv6 address": func(n *node, ns *nstest.NS) object {
			ns.AddAddress(n.t, nstest.LinkName, "2001:db8::7/64")
			return cached("a", ns.Path(), "").with(object{"result": object{"cniVersion": "1.0.0", "ips": []object{{"address": "2001:db8::7/64"}}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			a, b := n.containers()
			n.name("b", b)
			n.cache("a", change(n, a))
			if got := n.reason(n.pass(), "a"); got != "" {
				t.Errorf("not adopted: %s", got)
			}
			if r := n.records(); len(r) != 1 || !r[0].Netns.Same(n.recordOf("a", a).Netns.Identity) {
				t.Errorf("records %+v", r)
			}
		})
	}
}

func TestTheLaterOfTwoEntriesIsAdopted(t *testing.T) {
	n := newNode(t)
	a, _ := n.containers()
	n.cache("old", cached("old", a.Path(), nstest.LinkA))
	n.age("old", time.Now().Add(-time.Second))
	n.cache("new", cached("new", a.Path(), nstest.LinkA))
	r := n.pass()
	if n.reason(r, "old") != api.AdoptAmbiguous || n.reason(r, "new") != "" {
		t.Errorf("got %+v", r.Entries)
	}
	if diff := cmp.Diff([]string{"new"}, n.registered()); diff != "" {
		t.Errorf("registered (-want +got)\n%s", diff)
	}
}

func TestTheLayersAreAsThePluginWouldRecordThem(t *testing.T) {
	annotated := func(values any) object {
		return object{"capabilityArgs": object{policy.CapabilityPodAnnotations: values}}
	}
	for name, tt := range map[string]struct {
		conf, entry object
		grace       time.Duration
		mode        policy.Mode
		warns       bool
	}{
		"the annotation":                       {ours(), nil, 2 * time.Second, policy.Destroy, false},
		"the capability is not declared":       {object{"type": "halfclose", "grace": "10m"}, nil, 10 * time.Minute, policy.Destroy, false},
		"no annotations":                       {ours(), object{"capabilityArgs": nil}, 10 * time.Minute, policy.Destroy, false},
		"annotations are excluded":             {ours().with(object{"podOverrides": "none"}), nil, 10 * time.Minute, policy.Destroy, true},
		"a wrong annotation":                   {ours(), annotated(object{"halfclose.cni/grace": 5}), 10 * time.Minute, policy.Observe, true},
		"capability arguments of a wrong type": {ours(), object{"capabilityArgs": "x"}, 10 * time.Minute, policy.Observe, true},
		"a wrong network":                      {ours().with(object{"graec": "1m", "failurePolicy": "fail"}), nil, 2 * time.Second, policy.Observe, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			a, _ := n.containers()
			n.network("pods", object{"type": "bridge"}, tt.conf)
			n.cache("a", cached("a", a.Path(), nstest.LinkA).with(tt.entry))
			n.pass()
			r, err := n.store.Get(attachmentOf("a"))
			if err != nil {
				t.Fatal(err)
			}
			p := r.Layers.Resolve(0).Policies[0]
			if p.CloseWaitGrace != policy.Patience(tt.grace) || p.Mode != tt.mode || (len(r.Warnings) > 0) != tt.warns {
				t.Errorf("grace %v, mode %v, warnings %q", p.CloseWaitGrace, p.Mode, r.Warnings)
			}
		})
	}
}

func TestNetworksOfMultusAreFound(t *testing.T) {
	n := newNode(t)
	a, b := n.containers()
	n.cfg.ConfDirs = append(n.cfg.ConfDirs, n.dir+"/multus")
	n.cfg.CacheDirs = append(n.cfg.CacheDirs, n.dir+"/multus-cache")
	if err := errors.Join(os.MkdirAll(n.dir+"/multus", 0o755), os.MkdirAll(n.dir+"/multus-cache/results", 0o755)); err != nil {
		t.Fatal(err)
	}
	n.write("conf/00-multus.conf", object{"cniVersion": "1.0.0", "name": "multus-cni-network", "type": "multus", "delegates": []object{
		{"cniVersion": "1.0.0", "name": "inline", "plugins": []object{{"type": "bridge"}, ours()}},
	}})
	n.write("multus/20-extra.conflist", object{"cniVersion": "1.0.0", "name": "extra", "plugins": []object{{"type": "macvlan"}, ours()}})
	n.cache("outer", cached("a", a.Path(), nstest.LinkA).with(object{"networkName": "multus-cni-network"}))
	n.write("multus-cache/results/inline-a-"+nstest.LinkName, cached("a", a.Path(), nstest.LinkA).with(object{"networkName": "inline"}))
	n.write("multus-cache/results/extra-b-"+nstest.LinkName, cached("b", b.Path(), nstest.LinkB).with(object{"networkName": "extra"}))
	r := n.pass()
	if diff := cmp.Diff([]string{"a", "b"}, n.registered()); diff != "" {
		t.Errorf("registered (-want +got)\n%s\n%+v", diff, r.Entries)
	}
	if r.View.Skipped[api.AdoptNotChained] != 1 {
		t.Errorf("the runtime's own entry: %v", r.View.Skipped)
	}
}

func TestADryRunWritesNothing(t *testing.T) {
	n := newNode(t)
	a, _ := n.containers()
	n.cache("a", cached("a", a.Path(), nstest.LinkA))
	n.cfg.Enabled = false
	if r := n.pass(); n.reason(r, "a") != "" || r.View.Adoptable != 1 || r.View.Adopted != 0 {
		t.Errorf("got %+v", r)
	}
	if _, err := os.Stat(n.store.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state directory: %v", err)
	}
}

func TestNothingIsAdoptedWithoutKnowingTheConfiguration(t *testing.T) {
	n := newNode(t)
	a, _ := n.containers()
	n.cache("a", cached("a", a.Path(), nstest.LinkA))
	n.cfg.ConfDirs = []string{n.write("file", "")} // no directory
	r := n.adopter().Pass(t.Context())
	if r.Err == nil || r.View.Problem == "" || len(r.View.Skipped) > 0 {
		t.Errorf("got %+v", r)
	}
	if ids := n.registered(); ids != nil {
		t.Errorf("registered %v", ids)
	}
}

func TestARecordGoesWithItsEntry(t *testing.T) {
	n := newNode(t)
	a, b := n.containers()
	files := map[string]string{"a": n.cache("a", cached("a", a.Path(), nstest.LinkA)), "b": n.cache("b", cached("b", b.Path(), nstest.LinkB))}
	adopter := n.adopter()
	n.passOf(adopter, true)
	if err := os.Rename(n.dir+"/cache", n.dir+"/away"); err != nil { // the directory is not mounted for a while
		t.Fatal(err)
	}
	if r := n.passOf(adopter, true); r.View.Adopted != 2 {
		t.Errorf("without the directory: %+v", r.View)
	}
	if err := errors.Join(os.Rename(n.dir+"/away", n.dir+"/cache"), os.Remove(files["a"])); err != nil {
		t.Fatal(err)
	}
	if r := n.passOf(adopter, false); r.View.Adopted != 2 {
		t.Errorf("the command removes records: %+v", r.View)
	}
	if r := n.passOf(adopter, true); r.View.Adopted != 1 {
		t.Errorf("with the entry gone: %+v", r.View)
	}
	if diff := cmp.Diff([]string{"b"}, n.registered()); diff != "" {
		t.Errorf("registered (-want +got)\n%s", diff)
	}
}

// The plugin's DEL runs before libcni removes the entry; an ADD writes its record before libcni writes the entry. Whatever
// the order: after it no record is without its container, and no record of an ADD is lost.
func TestAdoptionRacesWithADDAndDEL(t *testing.T) {
	n := newNode(t)
	a, b := n.containers()
	add := n.recordOf("a", a)
	adopter := n.adopter()
	path := filepath.Join(n.dir, cacheName("a"))
	for round := range 200 {
		n.cache("a", cached("a", a.Path(), nstest.LinkA))
		var all sync.WaitGroup
		all.Go(func() { adopter.pass(context.Background(), true) })
		deletes := round%2 == 0
		all.Go(func() {
			var err error
			if deletes {
				err = errors.Join(n.store.Delete(add.Attachment), os.Remove(path))
			} else {
				err = n.store.Put(add)
			}
			if err != nil {
				t.Error(err)
			}
		})
		all.Wait()
		n.passOf(adopter, true)
		records := n.records()
		if deletes && len(records) > 0 {
			t.Fatalf("round %d: a record survives its DEL: %+v", round, records)
		}
		if !deletes && (len(records) != 1 || records[0].Adopted) {
			t.Fatalf("round %d: after an ADD: %+v", round, records)
		}
		if err := n.store.Delete(add.Attachment); err != nil {
			t.Fatal(err)
		}
	}
	n.cache("b", cached("b", b.Path(), nstest.LinkB))
	if n.passOf(adopter, true); n.reason(n.pass(), "b") != api.AdoptRegistered {
		t.Error("a neighbour is not adopted afterwards")
	}
}

func TestTwoAdoptersWriteOneRecord(t *testing.T) {
	n := newNode(t)
	a, _ := n.containers()
	n.cache("a", cached("a", a.Path(), nstest.LinkA))
	var all sync.WaitGroup
	for range 4 {
		adopter := n.adopter()
		all.Go(func() { adopter.pass(context.Background(), true) })
	}
	all.Wait()
	if diff := cmp.Diff([]string{"a"}, n.registered()); diff != "" {
		t.Errorf("registered (-want +got)\n%s", diff)
	}
}

func TestMountedNamespacesAreObservedUntilTheyAreUnmounted(t *testing.T) {
	n := newNode(t)
	a, b := n.containers()
	c := nstest.New(t)
	for _, dir := range []string{"docker", "podman"} {
		if err := os.MkdirAll(filepath.Join(n.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		n.cfg.Mounted = append(n.cfg.Mounted, filepath.Join(n.dir, dir))
	}
	pathA, pathC := mount(t, n.dir+"/docker/1a2b", a), mount(t, n.dir+"/podman/1a2b", c)
	mount(t, n.dir+"/docker/byCNI", b)
	n.write("docker/plain", "")
	if err := os.Symlink("/proc/self/ns/net", n.dir+"/docker/default"); err != nil { // the host's, as Docker mounts it
		t.Fatal(err)
	}
	if err := n.store.Put(n.recordOf("b", b)); err != nil {
		t.Fatal(err)
	}
	n.cfg.Enabled = false // of CNI's containers alone
	adopter := n.adopter()
	if v := n.passOf(adopter, true).View; v.Adopted != 2 {
		t.Errorf("view %+v", v)
	}
	n.passOf(adopter, true)
	paths := map[string]string{}
	for _, r := range n.records() {
		if !r.Adopted {
			continue
		}
		paths[r.Netns.Path] = r.ContainerID
		p := r.Layers.Resolve(0)
		if p.Policies[0].Mode != policy.Observe || p.Sources["mode"] != "adopt-netns" {
			t.Errorf("%s: mode %v from %s", r.ContainerID, p.Policies[0].Mode, p.Sources["mode"])
		}
		destroy := policy.Layer{Source: "policy.yaml:docker", Values: policy.Values{Mode: new(policy.Destroy)}}
		if got := r.Layers.ResolveWith([]policy.Layer{destroy}, nil, 0).Policies[0].Mode; got != policy.Destroy {
			t.Errorf("%s: mode %v with an entry of the policy file that sets destroy", r.ContainerID, got)
		}
	}
	if len(paths) != 2 || paths[pathA] != "1a2b" || paths[pathC] == "1a2b" || paths[pathC] == "" {
		t.Errorf("registered %v", paths)
	}
	unmount(t, pathA)
	if err := n.store.Put(n.recordOf("c", c)); err != nil { // CNI registers it later
		t.Fatal(err)
	}
	if v := n.passOf(adopter, true).View; v.Adopted != 0 {
		t.Errorf("view %+v", v)
	}
	if diff := cmp.Diff([]string{"b", "c"}, n.registered()); diff != "" {
		t.Errorf("registered (-want +got)\n%s", diff)
	}
}

func TestUnregisteredNamespacesAreCounted(t *testing.T) {
	n := newNode(t)
	before := n.pass().View.Unregistered
	a, b := n.containers()
	n.name("a", a)
	n.name("b", b)
	if v := n.pass().View; v.Unregistered != before+2 || len(v.UnregisteredPaths) == 0 {
		t.Errorf("with two more: %+v, before %d", v, before)
	}
	n.cache("a", cached("a", a.Path(), nstest.LinkA))
	if v := n.pass().View; v.Unregistered != before+1 {
		t.Errorf("with one adopted: %+v, before %d", v, before)
	}
}

// TestAPassReadsNoRecordAgainThatHasNotChanged deletes a named namespace in between, and gives its name to another.
func TestAPassReadsNoRecordAgainThatHasNotChanged(t *testing.T) {
	n := newNode(t)
	first, second := n.containers()
	n.name("a", first)
	n.cache("a", cached("a", first.Path(), nstest.LinkA))
	adopter := n.adopter()
	n.passOf(adopter, true) // writes the record
	time.Sleep(150 * time.Millisecond)
	n.passOf(adopter, true)
	before := adopter.reader.Reads()
	counted := n.passOf(adopter, true).View
	if got := adopter.reader.Reads() - before; got != 0 {
		t.Errorf("%d records were read again", got)
	}
	n.name("b", second)
	if v := n.passOf(adopter, true).View; v.Unregistered != counted.Unregistered+1 {
		t.Errorf("with another namespace %d are not registered, before %d", v.Unregistered, counted.Unregistered)
	}
	for path := range adopter.named {
		if filepath.Base(path) == "b" {
			adopter.named[path] = netns.Identity{Dev: 1, Inode: 1} // it led elsewhere
		}
	}
	if v := n.passOf(adopter, true).View; v.Unregistered != counted.Unregistered+1 {
		t.Errorf("with a name that leads elsewhere now %d are not registered, before %d", v.Unregistered, counted.Unregistered)
	}
}

func TestAChangeOfTheCacheOrTheConfigurationIsFollowed(t *testing.T) {
	n := newNode(t)
	a, b := n.containers()
	n.network("pods", object{"type": "bridge"})
	n.cache("a", cached("a", a.Path(), nstest.LinkA))
	adopter := n.adopter()
	adopter.cfg.Notify = dirwatch.NewInstance()
	defer adopter.cfg.Notify.Close()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- adopter.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	nstest.Eventually(t, 20*time.Second, "the network without an entry of ours is known", func() bool {
		v := adopter.View()
		return v.Skipped[api.AdoptNotChained] == 1 && cmp.Equal(v.NotChained, []string{"pods"})
	})
	n.network("pods", object{"type": "bridge"}, ours()) // install
	nstest.Eventually(t, 20*time.Second, "the container is adopted", func() bool { return adopter.View().Adopted == 1 })
	n.cache("b", cached("b", b.Path(), nstest.LinkB))
	nstest.Eventually(t, 20*time.Second, "the next entry is adopted", func() bool { return adopter.View().Adopted == 2 })
}

func TestAHostRootIsRespected(t *testing.T) {
	n := newNode(t)
	a, _ := n.containers()
	n.name("a", a)
	n.cache("a", cached("a", "/netns/a", nstest.LinkA))
	n.cfg.HostRoot, n.cfg.CacheDirs, n.cfg.ConfDirs, n.cfg.NetnsDirs = n.dir, []string{"/cache"}, []string{"/conf"}, []string{"/netns"}
	n.cfg.Root = rootAt(t, n.dir)
	if got := n.reason(n.pass(), "a"); got != "" {
		t.Fatalf("not adopted: %s", got)
	}
	r := n.records()[0]
	if r.Netns.Path != "/netns/a" || r.AdoptedFrom != "/"+cacheName("a") {
		t.Errorf("record %+v", r)
	}
	if v := n.pass().View; v.Adopted != 1 {
		t.Errorf("the next pass: %+v", v)
	}
}

func FuzzParseClaim(f *testing.F) {
	for _, o := range []object{cached("a", "/run/netns/a", "192.0.2.1"), cached("a", "", "2001:db8::1"), {"kind": "cniCacheV1"}} {
		data, err := json.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := claimOf(data)
		if err != nil {
			return
		}
		if c.CheckName() != nil || c.network == "" || c.path != "" && !filepath.IsAbs(c.path) || len(c.addresses) > maxAddresses {
			t.Errorf("claim %+v", c)
		}
		for _, a := range c.addresses {
			if !isUnicast(a) {
				t.Errorf("%v proves a network namespace", a)
			}
		}
	})
}
