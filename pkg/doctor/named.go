// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
)

// named is which network namespaces have a name in the file system.
type named struct {
	err   error // why that is not known
	paths []namedPath
	never []netns.Identity // of the host: never registered
}

// namedPath is a path on the host that leads to a namespace.
type namedPath struct {
	path string
	id   netns.Identity
}

func inspectNamed(root string) named {
	var n named
	h := hostfs.Dir(root)
	points, err := readMounts("/proc/thread-self/mountinfo")
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
		n.never = host.Identities()
	}
	for _, path := range namePaths(h, points) {
		open, err := below.Open(path)
		if err != nil {
			continue // no namespace, of another type, or gone since
		}
		n.add(namedPath{path, open.Stat()})
		_ = open.Close() // nothing was written
	}
	return n
}

// namePaths returns the paths on the host where a namespace may have a name: what is in the usual directories,
// and every mount of a namespace elsewhere.
func namePaths(h hostfs.Dir, points []point) []string {
	var paths []string
	for _, dir := range hostfs.NetnsDirs() {
		for _, name := range namesIn(h, dir) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	for _, p := range points {
		path, ok := h.NodePath(p.path)
		if ok && p.fsType == "nsfs" && strings.HasPrefix(p.root, "net:") {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// namesIn lists a directory of the host, which usually is one of two and need not be there.
func namesIn(h hostfs.Dir, dir string) []string {
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

// add takes a namespace in, unless it has been found by another name.
func (n *named) add(p namedPath) {
	if !slices.ContainsFunc(n.paths, func(q namedPath) bool { return q.id.Same(p.id) }) {
		n.paths = append(n.paths, p)
	}
}

// judgeNamed says which namespaces with a name are not registered.
func judgeNamed(n named, r records) []Finding {
	if err := cmp.Or(n.err, r.err); err != nil {
		return []Finding{{
			Check: "unregistered", Level: Warn, What: "namespaces and records cannot be compared: " + err.Error(), Do: "see to records first; run it as root",
		}}
	}
	var strangers []namedPath
	for _, p := range n.paths {
		known := slices.ContainsFunc(r.list, func(rec recorded) bool { return !rec.Inert(r.boot) && p.id.Same(rec.Netns.Identity) })
		host := slices.ContainsFunc(n.never, func(id netns.Identity) bool { return p.id.Same(id) })
		if !known && !host {
			strangers = append(strangers, p)
		}
	}
	if len(n.paths) == 0 {
		return []Finding{{Check: "unregistered", What: "no namespace has a name in the file system"}}
	}
	if len(strangers) == 0 {
		return []Finding{{Check: "unregistered", What: "every namespace that has a name is registered (" + count(len(n.paths), "namespace") + ")"}}
	}
	return []Finding{{
		Check: "unregistered", Level: Info,
		What: count(len(strangers), "namespace that has a name is", "namespaces that have a name are") + " not registered: made before halfclose was chained, or not by CNI: " +
			few(strangers, func(p namedPath) string { return p.path }),
		Do: "nothing, if nothing is to be done in them; else restart the pod, or halfclose register " + strangers[0].path,
	}}
}
