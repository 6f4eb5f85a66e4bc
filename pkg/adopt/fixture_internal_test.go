// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// node is a node's directories, and network namespaces of containers. Two containers of a node are joined by a veth pair.
type node struct {
	t     testing.TB
	dir   string
	store *state.Store
	cfg   Config
}

// object is a JSON object.
type object map[string]any

func (o object) with(more object) object {
	merged := maps.Clone(o)
	maps.Copy(merged, more)
	return merged
}

// ours is halfclose's object of a conflist.
func ours() object {
	return object{"type": "halfclose", "grace": "10m", "capabilities": object{policy.CapabilityPodAnnotations: true}}
}

func newNode(t testing.TB) *node {
	t.Helper()
	root, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	n := &node{t: t, dir: dir, store: state.New(filepath.Join(dir, "state"))}
	n.cfg = Config{
		Store: n.store, Root: root, Clock: nstest.Clock(t), CacheDirs: []string{dir + "/cache"}, ConfDirs: []string{dir + "/conf"},
		NetnsDirs: []string{dir + "/netns"}, Enabled: true, Log: slog.New(slog.DiscardHandler),
	}
	for _, d := range []string{"cache/results", "conf", "netns"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.network("pods", object{"type": "bridge"}, ours())
	return n
}

// network writes a conflist.
func (n *node) network(name string, plugins ...object) {
	n.t.Helper()
	n.write("conf/10-"+name+".conflist", object{"cniVersion": "1.0.0", "name": name, "plugins": plugins})
}

func (n *node) write(file string, content any) (path string) {
	n.t.Helper()
	text, raw := content.(string)
	data := []byte(text)
	var err error
	if !raw {
		data, err = json.Marshal(content)
	}
	path = filepath.Join(n.dir, file)
	if err := errors.Join(err, os.WriteFile(path, data, 0o600)); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// containers creates the network namespaces of two containers, with the addresses nstest.LinkA and nstest.LinkB.
func (n *node) containers() (a, b *nstest.NS) {
	n.t.Helper()
	a, b = nstest.New(n.t), nstest.New(n.t)
	nstest.Link(n.t, a, b)
	return a, b
}

// name mounts a network namespace in the node's netns directory.
func (n *node) name(name string, ns *nstest.NS) {
	n.t.Helper()
	mount(n.t, filepath.Join(n.dir, "netns", name), ns)
}

func mount(t testing.TB, path string, ns *nstest.NS) string {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount(ns.Path(), path, "", unix.MS_BIND, "")
	if errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(t, "mount a network namespace", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, path) })
	return path
}

func unmount(t testing.TB, path string) {
	t.Helper()
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// cached returns an entry of the cache as libcni 1.2 and later write it.
func cached(id, path, address string) object {
	return object{
		"kind": "cniCacheV1", "containerId": id, "ifName": nstest.LinkName, "networkName": "pods", "netns": path, "config": "e30=",
		"cniArgs":        [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "shop"}, {"K8S_POD_NAME", id}, {"K8S_POD_UID", "u-" + id}},
		"capabilityArgs": object{policy.CapabilityPodAnnotations: object{"halfclose.cni/grace": "2s", "example.org/team": "blue"}},
		"result":         result(address, path),
	}
}

func result(address, sandbox string) object {
	return object{
		"cniVersion": "1.0.0", "interfaces": []object{{"name": "cni0"}, {"name": "vethx"}, {"name": nstest.LinkName, "sandbox": sandbox}},
		"ips": []object{{"interface": 2, "address": address + "/24"}},
	}
}

// cache writes an entry of the cache.
func (n *node) cache(id string, content any) (path string) {
	n.t.Helper()
	return n.write(cacheName(id), content)
}

func cacheName(id string) string { return "cache/results/pods-" + id + "-" + nstest.LinkName }

func (n *node) adopter() *Adopter {
	n.t.Helper()
	a, err := New(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	return a
}

// pass makes one pass, which must succeed.
func (n *node) pass() Result {
	n.t.Helper()
	return n.passOf(n.adopter(), true)
}

func (n *node) passOf(a *Adopter, all bool) Result {
	n.t.Helper()
	r := a.pass(context.Background(), all)
	if r.Err != nil {
		n.t.Fatal(r.Err)
	}
	return r
}

// reason returns why the entry of a container was not adopted, "" if it was.
func (n *node) reason(r Result, id string) api.AdoptionReason {
	n.t.Helper()
	i := slices.IndexFunc(r.Entries, func(e Entry) bool { return strings.HasSuffix(e.File, "-"+id+"-"+nstest.LinkName) })
	if i < 0 {
		n.t.Fatalf("no entry of %s in %+v", id, r.Entries)
	}
	e := r.Entries[i]
	if e.Reason != "" && e.Why == "" {
		n.t.Errorf("%s is refused without a word", id)
	}
	if e.Adopted == (e.Reason != "") && n.cfg.Enabled {
		n.t.Errorf("%s: adopted %v, reason %q", id, e.Adopted, e.Reason)
	}
	return e.Reason
}

func (n *node) records() []state.Record {
	n.t.Helper()
	l, err := n.store.List(context.Background())
	if err != nil || len(l.Problems) > 0 {
		n.t.Fatal(err, l.Problems)
	}
	return l.Records
}

// registered returns the container IDs of the records.
func (n *node) registered() (ids []string) {
	n.t.Helper()
	for _, r := range n.records() {
		ids = append(ids, r.ContainerID)
	}
	return ids
}

func attachmentOf(id string) state.Attachment {
	return state.Attachment{ContainerID: id, IfName: nstest.LinkName}
}

// recordOf returns a record as an ADD would write it.
func (n *node) recordOf(id string, ns *nstest.NS) state.Record {
	n.t.Helper()
	at, err := netns.Identify(ns.Path())
	boot, bootErr := netns.BootID()
	if err := errors.Join(err, bootErr); err != nil {
		n.t.Fatal(err)
	}
	return state.Record{
		Network: "pods", Attachment: attachmentOf(id), Boot: boot, Netns: state.Netns{Path: ns.Path(), Identity: at},
		Time: n.cfg.Clock.Wall().UTC(),
	}
}

// startIn starts a process in a network namespace until the test ends, and returns the path of its namespace.
func startIn(t testing.TB, ns *nstest.NS) string {
	t.Helper()
	cmd := exec.Command("cat") // ends with its stdin
	ns.Start(t, cmd)
	return fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
}

func macOf(t testing.TB, ns *nstest.NS) string {
	t.Helper()
	h, err := netns.Open(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	l, found, err := lookupLink(h, nstest.LinkName)
	if err != nil || !found || len(l.mac) == 0 {
		t.Fatalf("%+v, %v, %v", l, found, err)
	}
	return l.mac.String()
}

func rootAt(t *testing.T, dir string) *netns.Root {
	t.Helper()
	root, err := netns.NewRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func claimOf(data []byte) (claim, error) {
	entry, err := cniconf.ParseCached(data)
	if err != nil {
		return claim{}, err
	}
	return parseClaim(entry)
}
