// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// withoutHalfclose returns the network as it was before halfclose was on the node.
func withoutHalfclose(t *testing.T, list *libcni.NetworkConfigList) *libcni.NetworkConfigList {
	t.Helper()
	var conf map[string]any
	if err := json.Unmarshal(list.Bytes, &conf); err != nil {
		t.Fatal(err)
	}
	var rest []any
	for _, p := range conf["plugins"].([]any) {
		if p.(map[string]any)["type"] != "halfclose" {
			rest = append(rest, p)
		}
	}
	conf["plugins"] = rest
	text, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := libcni.NetworkConfFromBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// writeList writes a network's configuration as an installer does.
func writeList(t *testing.T, dir string, list *libcni.NetworkConfigList) {
	t.Helper()
	tmp := filepath.Join(dir, "tmp")
	if err := errors.Join(os.WriteFile(tmp, list.Bytes, 0o600), os.Rename(tmp, filepath.Join(dir, "10-pods.conflist"))); err != nil {
		t.Fatal(err)
	}
}

func TestALeakFromBeforeHalfcloseIsDestroyedWithoutARestartOfItsPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list, conf := network(t), t.TempDir()
	plain := withoutHalfclose(t, list)
	writeList(t, conf, plain)
	hasty, patient := newContainer(t, map[string]string{"halfclose.cni/grace": "1s"}), newContainer(t, nil) // whose network has an hour
	w.add(t, plain, hasty)
	w.add(t, plain, patient)
	old, kept := leak(t, hasty), leak(t, patient)
	w.start(t, "--cni-cache", w.cache, "--cni-conf-dir", conf)
	nstest.Eventually(t, testnode.Patience, "commands say which network does not list halfclose", func() bool {
		r := w.run(t, "sockets")
		return strings.Contains(r.stderr, "the configuration of network pods does not list halfclose")
	})

	writeList(t, conf, list)
	destroyed(t, "the leak from before", old)
	r, found := w.Record(hasty.attachment())
	if !found || !r.Adopted || r.Pod.Name != hasty.name || r.Layers.Annotations["halfclose.cni/grace"] != "1s" {
		t.Errorf("the record %v, %+v", found, r)
	}
	v := w.AwaitSocket(testnode.ConnOf(kept), api.SocketQuery{}, "its neighbour's leak is known", func(api.SocketView) bool { return true })
	if !lives(kept) || v.Verdict == policy.Destroyable {
		t.Errorf("the leak with a grace of an hour: %+v", v)
	}
	if r := w.run(t, "status"); !strings.Contains(r.stdout, "Adopted   2 containers") {
		t.Errorf("status is\n%s%s", r.stdout, r.stderr)
	}

	// The runtime's DEL calls no halfclose if the network does not list it then.
	if err := w.cni.DelNetworkList(context.Background(), plain, hasty.runtime); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, testnode.Patience, "the record goes with the container", func() bool {
		_, found := w.Record(hasty.attachment())
		return !found
	})
	if _, found := w.Record(patient.attachment()); !found {
		t.Error("the neighbour's record is gone too")
	}
}

// Docker, podman 5 and ip netns mount network namespaces and call no CNI plugin.
func TestAMountedNetnsIsObservedUnlessThePolicyFileSaysOtherwise(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := filepath.Join(w.dir, "docker")
	file := filepath.Join(t.TempDir(), "policy.yaml")
	const entries = "version: 1\ndefaults: {grace: 1s}\npods:\n  - match: {network: (netns), id: web}\n    set: {mode: destroy}\n"
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(file, []byte(entries), 0o600)); err != nil {
		t.Fatal(err)
	}
	leaks := make(map[string]testnode.Conn)
	web, db := nstest.New(t), nstest.New(t)
	for name, ns := range map[string]*nstest.NS{"web": web, "db": db} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o444), unix.Mount(ns.Path(), path, "", unix.MS_BIND, "")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		p := ns.Connect(t, nstest.IPv4)
		if err := p.Client.Close(); err != nil {
			t.Fatal(err)
		}
		leaks[name] = testnode.ConnOf(p.Server)
	}
	w.start(t, "--adopt=false", "--adopt-netns", dir, "--policy-file", file)
	w.AwaitEntries("the leak of web is destroyed and that of db is observed", func([]api.Entry) bool {
		_, ended, _ := w.FindEntry(leaks["web"], api.Destroyed)
		_, observed, _ := w.FindEntry(leaks["db"], api.WouldDestroy)
		return ended && observed
	})
	if _, ended, err := w.FindEntry(leaks["db"], api.Destroyed); ended || err != nil {
		t.Errorf("the leak of db is destroyed: %v", err)
	}
}
