// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
)

// named is the network namespaces with a name in the file system.
type named struct {
	err   error // why they are unknown
	paths []namedPath
	host  []netns.Identity // of the host, which are never registered
}

// namedPath is the path of a namespace on the host.
type namedPath struct {
	path string
	id   netns.Identity
}

func inspectNamed(root string) named {
	var n named
	table, err := readMounts()
	if err != nil {
		n.err = err
		return n
	}
	below, err := netns.NewRoot(root)
	if err != nil {
		n.err = err
		return n
	}
	defer below.Close()
	if host, err := netns.FindHost(); err == nil {
		n.host = host.Identities()
	}
	for _, path := range namePaths(hostfs.Dir(root), table) {
		h, err := below.Open(path)
		if err != nil {
			continue // no network namespace, or removed since
		}
		n.add(namedPath{path, h.Stat()})
		_ = h.Close() // nothing was written
	}
	return n
}

// namePaths returns the paths on the host that may be named namespaces: the files in the usual directories, and every
// mount of a network namespace elsewhere.
func namePaths(h hostfs.Dir, table []*mountinfo.Info) []string {
	var paths []string
	for _, dir := range hostfs.NetnsDirs() {
		for _, name := range fileNames(h, dir) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	for _, m := range table {
		path, ok := h.NodePath(m.Mountpoint)
		if ok && m.FSType == "nsfs" && strings.HasPrefix(m.Root, "net:") {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// fileNames returns the names in a directory of the host, none if it does not exist.
func fileNames(h hostfs.Dir, dir string) []string {
	d, err := h.OpenDirectory(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	entries, err := d.Entries()
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// add adds a namespace, unless it is known by another name.
func (n *named) add(p namedPath) {
	if !slices.ContainsFunc(n.paths, func(q namedPath) bool { return q.id.Same(p.id) }) {
		n.paths = append(n.paths, p)
	}
}

// reportNamed reports named namespaces that are not registered.
func reportNamed(n named, r records) []Finding {
	if err := cmp.Or(n.err, r.err); err != nil {
		return []Finding{{
			Check: "unregistered", Level: Warn, What: "namespaces and records cannot be compared: " + err.Error(), Do: "fix records first; run it as root",
		}}
	}
	var unregistered []namedPath
	for _, p := range n.paths {
		registered := slices.ContainsFunc(r.list, func(rec recorded) bool { return !rec.Inert(r.boot) && p.id.Same(rec.Netns.Identity) })
		host := slices.ContainsFunc(n.host, func(id netns.Identity) bool { return p.id.Same(id) })
		if !registered && !host {
			unregistered = append(unregistered, p)
		}
	}
	if len(n.paths) == 0 {
		return []Finding{{Check: "unregistered", What: "there is no named network namespace"}}
	}
	if len(unregistered) == 0 {
		return []Finding{{Check: "unregistered", What: "every named network namespace is registered (" + describe.Plural(len(n.paths), "namespace", "namespaces") + ")"}}
	}
	return []Finding{{
		Check: "unregistered", Level: Info,
		What: describe.Plural(len(unregistered), "named network namespace is", "named network namespaces are") + " not registered (created without CNI, or before halfclose was chained): " +
			firstNames(unregistered, func(p namedPath) string { return p.path }),
		Do: "nothing unless halfclose should manage them; then restart the pod, or run halfclose register " + unregistered[0].path,
	}}
}
