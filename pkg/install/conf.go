// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

// A file that holds a single plugin cannot be extended: a conflist takes its place. That is made first, while
// runtimes still choose the old file, or already the new one, of the same network; then the old one is kept under
// a name that no runtime loads.

// savedSuffix is appended to the name of a file that a conflist has taken the place of.
const savedSuffix = ".halfclose"

// listName is the name of the conflist that takes the place of a file.
func listName(name string) string {
	return strings.TrimSuffix(name, filepath.Ext(name)) + ".conflist"
}

// confNames are the names of the files whose place a conflist may have taken.
func confNames(list string) []string {
	base := strings.TrimSuffix(list, filepath.Ext(list))
	return []string{base + ".conf", base + ".json"}
}

// indexOf returns where the file of that name is, -1 if there is none.
func indexOf(files []file, name string) int {
	return slices.IndexFunc(files, func(f file) bool { return f.Name == name })
}

// planConvert plans that a conflist with the entry takes the place of a file that holds a single plugin. If there
// is one that an installer of ours made earlier, somebody has written the old file again: what that says goes into
// the conflist, and the plugins that are chained there stay.
func (c Config) planConvert(d *directory, files []file, f file) ([]change, error) {
	name := listName(f.Name)
	if f.Link {
		return nil, fmt.Errorf("%s is a symbolic link, whose owner would lose it: make it a regular file", f.Name)
	}
	for _, other := range files {
		if other.Name != f.Name && other.Err == nil && other.Name < name {
			return nil, fmt.Errorf("%s would have to become %s, and runtimes would choose %s instead: rename that", f.Name, name, other.Name)
		}
	}
	list, err := fromConf(f.Data, nil, c.Entry)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	if err := checkSize(name, list); err != nil {
		return nil, err
	}
	keep := d.planAside(f, f.Name+savedSuffix)
	made := indexOf(files, name)
	if made < 0 {
		keep.diff = "" // all of it is in the conflist
		successor := d.planMake(name, list, f)
		successor.diff = unified(filepath.Join(d.path, f.Name), filepath.Join(d.path, name), string(f.Data), string(list))
		return append(d.planRemoveDropIns(f.List.Name), successor, keep), nil
	}
	if files[made].Err != nil && files[made].fresh {
		return nil, fmt.Errorf("%s cannot be loaded (%w): %w", name, files[made].Err, errBusy)
	}
	if !madeOf(files[made], f) {
		return nil, fmt.Errorf("%s would have to become %s, which is there already and is not halfclose's: remove one of them", f.Name, name)
	}
	changes, err := d.planEdit(files[made], func(data []byte) ([]byte, error) { return renew(data, f, c.Entry) })
	return append(append(d.planRemoveDropIns(f.List.Name), changes...), keep), err
}

// rewritten returns the file that a conflist of ours has taken the place of, if somebody has written it again
// and runtimes choose the conflist before it.
func rewritten(files []file, list file) (file, bool) {
	for _, f := range files {
		if !f.IsList() && f.Err == nil && listName(f.Name) == list.Name && madeOf(list, f) {
			return f, true
		}
	}
	return file{}, false
}

// madeOf reports whether a conflist is one that took the place of a file: the same network of the same plugin,
// with halfclose behind it.
func madeOf(list, conf file) bool {
	d, err := parse(list.Data)
	return err == nil && d.count() > 0 && !d.ours(0) && d.list.Name == conf.List.Name &&
		d.list.Plugins[0].Network.Type == conf.List.Plugins[0].Network.Type
}

// renew returns the conflist that took the place of a file, with what that says now.
func renew(data []byte, conf file, entry Entry) ([]byte, error) {
	d, err := parse(data)
	if err != nil {
		return nil, err
	}
	if d.list.CNIVersion == conf.List.CNIVersion && samePlugin(d.list.Plugins[0], conf.List.Plugins[0]) {
		return add(data, entry)
	}
	var others [][]byte
	for i, p := range d.plugins.Elements {
		if i > 0 && !d.ours(i) {
			others = append(others, text(p))
		}
	}
	return fromConf(conf.Data, others, entry)
}

// restores reports whether a file of a single plugin says what a conflist says but for our entry.
func restores(f file, saved []byte) bool {
	conf, err := parseConf(saved)
	if err != nil {
		return false
	}
	data, err := remove(f.Data)
	if err != nil {
		return false
	}
	list, err := libcni.NetworkConfFromBytes(data)
	return err == nil && len(list.Plugins) == 1 && list.Name == conf.list.Name &&
		list.CNIVersion == conf.list.CNIVersion && samePlugin(list.Plugins[0], conf.list.Plugins[0])
}
