// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
)

// NamedNetns is a network namespace with a name in the node's file system.
type NamedNetns struct {
	Path string // on the node; the first of its names
	ID   netns.Identity
}

// FindNamed returns the named network namespaces of the node, without the host's own. They are those in the usual
// directories, and all others that are mounted where this process sees it. root opens paths below the directory dir.
func FindNamed(dir string, root *netns.Root) ([]NamedNetns, error) {
	return findNamed(dir, func(path string) (netns.Identity, error) { return identify(root, path) })
}

// identify opens the network namespace at a path and returns its identity.
func identify(root *netns.Root, path string) (netns.Identity, error) {
	h, err := root.Open(path)
	if err != nil {
		return netns.Identity{}, err
	}
	return h.Stat(), h.Close()
}

// findNamed is FindNamed with the function that identifies the network namespace at a path.
func findNamed(dir string, identify func(path string) (netns.Identity, error)) ([]NamedNetns, error) {
	table, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("nsfs"))
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	host, err := netns.FindHost()
	if err != nil {
		return nil, err
	}
	never := host.Identities()
	var all []NamedNetns
	has := make(map[netns.Identity]bool)
	for _, path := range namePaths(hostfs.Dir(dir), table) {
		id, err := identify(path)
		if err != nil {
			continue // no network namespace, or removed since
		}
		if !slices.ContainsFunc(never, id.Same) && !has[id] { // neither has a cookie
			has[id] = true
			all = append(all, NamedNetns{path, id})
		}
	}
	return all, nil
}

// namePaths returns the paths on the host that may be named namespaces: the files in the usual directories, and every
// mount of a network namespace elsewhere.
func namePaths(h hostfs.Dir, table []*mountinfo.Info) []string {
	var paths []string
	for _, dir := range hostfs.NetnsDirs() {
		paths = append(paths, filesIn(h, dir)...)
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

// filesIn returns the paths of the files in a directory of the host, none if it does not exist.
func filesIn(h hostfs.Dir, dir string) []string {
	d, err := h.OpenDirectory(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	entries, err := d.Entries()
	if err != nil {
		return nil
	}
	paths := make([]string, 0, len(entries))
	for _, e := range entries {
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	return paths
}

// Unregistered returns the namespaces of all that are not registered.
func Unregistered(all []NamedNetns, registered []netns.Identity) []NamedNetns {
	isRegistered := func(n NamedNetns) bool { return slices.ContainsFunc(registered, n.ID.Same) }
	return slices.DeleteFunc(slices.Clone(all), isRegistered)
}
