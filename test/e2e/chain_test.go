// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestTheShippedConflistRegistersAndStartsTheReaper(t *testing.T) {
	w := newWorldAt(t, state.DefaultDir, nil) // without environment variables, as on a real node
	c := newContainer(t, map[string]string{"halfclose.cni/close-wait-grace": "2m", "other/annotation": "x"})
	list, err := libcni.NetworkConfFromFile(conflist)
	if err != nil {
		t.Fatal(err)
	}
	w.add(t, list, c)

	got, err := w.Store.Get(c.attachment())
	if err != nil {
		t.Fatal(err)
	}
	boot, err := netns.BootID()
	if err != nil {
		t.Fatal(err)
	}
	want := state.Record{
		Version: state.Version, Network: "pods", Attachment: c.attachment(), Boot: boot,
		Netns: state.Netns{Path: c.path, Identity: identity(t, c.path)},
		Pod:   state.Pod{Namespace: "e2e", Name: c.name, UID: "uid-" + c.name},
		Layers: policy.Layers{
			Network: policy.Layer{Source: policy.SourceNetwork, Values: policy.Values{
				Mode: new(policy.Destroy), Grace: new(policy.Patience(time.Hour)),
				ProbeAfter: new(policy.Patience(90 * time.Second)), PendingGrace: new(policy.Patience(2 * time.Hour)),
			}},
			Annotations: map[string]string{policy.AnnotationCloseWaitGrace: "2m"},
		},
	}
	var build buildinfo.Info // plugin and command are of the same build
	parse(t, w.run(t, "version", "--output", "json"), &build)
	want.Plugin = build.Build()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(state.Record{}, "Time"), cmp.AllowUnexported(policy.Layer{})); diff != "" {
		t.Errorf("record (-want +got)\n%s", diff)
	}
	info, err := os.Stat(w.Store.AttachmentsDir())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode of %s is %v", w.Store.AttachmentsDir(), info.Mode())
	}

	s := w.AwaitStatus()
	if s.Holder.StartedBy != api.ByPlugin {
		t.Errorf("the reaper was started by %q", s.Holder.StartedBy)
	}
	a := s.Attachments[0]
	if a.Attachment != c.attachment() || a.Mode != policy.Destroy || a.Inert != "" || len(a.CappedBy)+len(a.Warnings) > 0 {
		t.Errorf("the attachment in status is %+v", a)
	}

	for _, command := range []string{"ADD"} {
		before, after := w.exec.stdout["tuning "+command], w.exec.stdout["halfclose "+command]
		if diff := cmp.Diff(decode(t, before), decode(t, after)); diff != "" {
			t.Errorf("%s returns a result other than its prevResult (-want +got)\n%s", command, diff)
		}
		if said := w.exec.stderr["halfclose "+command]; said != "" {
			t.Errorf("%s prints a warning: %s", command, said)
		}
	}
}

func identity(t *testing.T, path string) netns.Identity {
	t.Helper()
	id, err := netns.Identify(path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func decode(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

func TestEveryVerbThroughLibcni(t *testing.T) {
	for _, tt := range []struct {
		version           string
		check, gcOrStatus bool // whether the version has the verb
	}{
		{version: "0.3.1"},
		{version: "0.4.0", check: true},
		{version: "1.0.0", check: true},
		{version: "1.1.0", check: true, gcOrStatus: true},
	} {
		t.Run(tt.version, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := newContainer(t, map[string]string{"halfclose.cni/mode": "observe"})
			list := network(t, `"cniVersion": "1.0.0"`, `"cniVersion": "`+tt.version+`"`,
				`"name": "pods"`, `"name": "pods-`+tt.version+`"`, `"reaper": "auto"`, `"reaper": "external"`,
				// The kernel gives a bridge the lowest MAC of its ports, and the bridge plugin's CHECK compares it with that of ADD.
				`"bridge": "pods0"`, `"bridge": "pods-`+tt.version+`"`)
			result := w.add(t, list, c)
			if result.Version() != tt.version {
				t.Errorf("the result is of version %s", result.Version())
			}
			first, err := w.Store.Get(c.attachment())
			if err != nil {
				t.Fatal(err)
			}

			if tt.check {
				checkRepairs(t, w, list, c, first)
			}
			if err := w.cni.GetStatusNetworkList(t.Context(), list); err != nil {
				t.Errorf("STATUS: %v", err)
			}
			gcRemoves(t, w, list, c, tt.gcOrStatus)

			for range 2 {
				if err := w.cni.DelNetworkList(t.Context(), list, c.runtime); err != nil {
					t.Errorf("DEL: %v", err)
				}
				if _, err := w.Store.Get(c.attachment()); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("after DEL the record still exists: %v", err)
				}
			}
		})
	}
}

// checkRepairs calls CHECK with a record, and without one.
func checkRepairs(t *testing.T, w *world, list *libcni.NetworkConfigList, c *container, want state.Record) {
	t.Helper()
	if err := w.cni.CheckNetworkList(t.Context(), list, c.runtime); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	if err := w.Store.Delete(c.attachment()); err != nil {
		t.Fatal(err)
	}
	if err := w.cni.CheckNetworkList(t.Context(), list, c.runtime); err != nil {
		t.Errorf("CHECK without a record: %v", err)
	}
	got, err := w.Store.Get(c.attachment())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(state.Record{}, "Time", "Warnings"), cmp.AllowUnexported(policy.Layer{})); diff != "" {
		t.Errorf("CHECK wrote another record than ADD (-want +got)\n%s", diff)
	}
	if log := w.exec.stderr["halfclose CHECK"]; !strings.Contains(log, "recreated the attachment's record, which was missing") {
		t.Errorf("CHECK does not report that the record was missing: %q", log)
	}
}

// gcRemoves calls GC with two records of invalid attachments, one of another network.
func gcRemoves(t *testing.T, w *world, list *libcni.NetworkConfigList, c *container, there bool) {
	t.Helper()
	record, err := w.Store.Get(c.attachment())
	if err != nil {
		t.Fatal(err)
	}
	stray, other := record, record
	stray.ContainerID, other.ContainerID, other.Network = "stray", "other", "another"
	if err := errors.Join(w.Store.Put(stray), w.Store.Put(other)); err != nil {
		t.Fatal(err)
	}
	valid := []types.GCAttachment{{ContainerID: c.runtime.ContainerID, IfName: c.runtime.IfName}}
	if err := w.cni.GCNetworkList(t.Context(), list, &libcni.GCArgs{ValidAttachments: valid}); err != nil {
		t.Errorf("GC: %v", err)
	}
	want := []string{c.runtime.ContainerID, "other"}
	if !there {
		want = append(want, "stray")
	}
	listing, err := w.Store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range listing.Records {
		got = append(got, r.ContainerID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records after GC (-want +got)\n%s", diff)
	}
}

func TestDELSucceedsWithAnyInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		conf := `{"cniVersion": "` + version + `", "name": "direct", "type": "halfclose", "reaper": "external", "prevResult": {"cniVersion": "` + version + `"}`
		for _, tt := range []struct {
			name, netns, conf string
			add               int // number of ADDs before
		}{
			{name: "after two ADDs", add: 2, netns: c.path, conf: conf + "}"},
			{name: "before ADD", netns: c.path, conf: conf + "}"},
			{name: "with an empty CNI_NETNS and no prevResult", add: 1, conf: `{"cniVersion": "` + version + `", "name": "direct", "type": "halfclose"}`},
			{name: "with a namespace that is gone", add: 1, netns: "/run/netns/gone", conf: conf + "}"},
			{name: "with a wrong policy", add: 1, netns: c.path, conf: conf + `, "mode": 7, "failurePolicy": "fail"}`},
			{name: "with a configuration cut short", add: 1, netns: c.path, conf: conf},
			{name: "with no configuration", add: 1, netns: c.path},
		} {
			t.Run(version+" "+tt.name, func(t *testing.T) {
				for range tt.add {
					if r := run(t, w.plugin("ADD", c.attachment(), c.path, conf+"}")); r.code != 0 || r.stderr != "" {
						t.Fatalf("ADD: exit code %d: %s%s", r.code, r.stdout, r.stderr)
					}
					if _, err := w.Store.Get(c.attachment()); err != nil {
						t.Fatal(err)
					}
				}
				for range 2 {
					if r := run(t, w.plugin("DEL", c.attachment(), tt.netns, tt.conf)); r.code != 0 || r.stdout != "" {
						t.Errorf("DEL: exit code %d: %s%s", r.code, r.stdout, r.stderr)
					}
				}
				if _, err := w.Store.Get(c.attachment()); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the record still exists: %v", err)
				}
			})
		}
	}
}
