// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/utils"
	"golang.org/x/sys/unix"
)

// ErrNoNetwork says that there is no network configuration yet that could be extended.
var ErrNoNetwork = errors.New("there is no network configuration yet")

// file is a file of the configuration directory that a runtime would load.
type file struct {
	name string
	link bool // a symbolic link, which runtimes follow
	content
	list    *libcni.NetworkConfigList // what a runtime makes of it, without the plugins that drop-ins add
	problem error                     // why it makes nothing of it
	fresh   bool                      // written a moment ago: what is wrong with it may soon be right
}

// isList reports whether a file holds a list of plugins, and not a single one.
func (f file) isList() bool { return filepath.Ext(f.name) == ".conflist" }

// lists reports whether a file lists a plugin of ours.
func (f file) lists() bool { return slices.ContainsFunc(f.list.Plugins, isOurs) }

// freshTime is how long after its last write somebody may still be at work on a file that cannot be loaded.
const freshTime = 2 * time.Second

// load reads the files of the directory that a runtime would load, in the order in which it looks at them.
func (d *directory) load() ([]file, error) {
	for range tries {
		files, gone, err := d.loadAll()
		if err != nil || !gone { // where one has gone since, another may have come
			return files, err
		}
	}
	return nil, errBusy
}

// loadAll is load, which reports whether one of the files has gone since they were listed.
func (d *directory) loadAll() (files []file, gone bool, err error) {
	entries, err := d.entries()
	if err != nil {
		return nil, false, err
	}
	for _, e := range entries {
		if e.IsDir() || !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		f := file{name: e.Name(), link: e.Type()&fs.ModeSymlink != 0}
		c, err := d.follow(f.name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !f.link:
			return nil, true, nil
		case err != nil:
			f.problem = err
		default:
			f.content, f.fresh = c, fresh(c.stat)
			f.list, f.problem = d.listed(f)
		}
		files = append(files, f)
	}
	return files, false, nil
}

// follow reads a file as a runtime does: through a symbolic link.
func (d *directory) follow(name string) (content, error) {
	f, err := d.open(name, unix.O_RDONLY, 0)
	if errors.Is(err, unix.ELOOP) {
		f, err = d.host.open(filepath.Join(d.path, name), unix.O_RDONLY)
	}
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	return readFile(f)
}

func fresh(stat unix.Stat_t) bool {
	age := time.Since(time.Unix(stat.Mtim.Unix()))
	return age.Abs() < freshTime
}

// listed returns the list that a runtime makes of a file.
func (d *directory) listed(f file) (*libcni.NetworkConfigList, error) {
	read := listOf
	if f.isList() {
		read = libcni.NetworkConfFromBytes
	}
	list, err := read(f.data)
	if err != nil {
		return nil, err
	}
	if len(list.Plugins) == 0 && len(d.dropIns(list.Name)) == 0 {
		return nil, errors.New("it lists no plugins")
	}
	if err := utils.ValidateNetworkName(list.Name); err != nil {
		return nil, err
	}
	return list, nil
}

// choose returns the file that runtimes choose: the first that they can load. It says what is wrong with those
// that come before it. It is no time to choose while one of those is being written.
func choose(files []file) (chosen file, passedOver []string, err error) {
	for _, f := range files {
		switch {
		case f.problem == nil:
			return f, passedOver, nil
		case f.fresh:
			return file{}, nil, fmt.Errorf("%s cannot be loaded (%w): %w", f.name, f.problem, errBusy)
		}
		passedOver = append(passedOver, fmt.Sprintf("%s cannot be loaded: %v", f.name, f.problem))
	}
	if len(files) == 0 {
		return file{}, nil, ErrNoNetwork
	}
	return file{}, nil, fmt.Errorf("no network configuration can be loaded: %s", strings.Join(passedOver, "; "))
}

// specVersions are the versions of the CNI specification that the plugin speaks.
func specVersions() []string { return []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} }

// checkVersion says why a network cannot be extended: with the entry in it, no pod would start any more.
func (f file) checkVersion() error {
	versions := []string{f.list.CNIVersion} // the latest of its cniVersions, where a runtime reads those
	var says struct{ CNIVersion *string }
	if json.Unmarshal(f.data, &says) == nil && says.CNIVersion != nil {
		versions = append(versions, *says.CNIVersion)
	}
	for _, version := range versions {
		if slices.Contains(specVersions(), version) {
			continue
		}
		have := "has no cniVersion"
		if version != "" {
			have = fmt.Sprintf("has cniVersion %q", version)
		}
		return fmt.Errorf("%s %s, and halfclose speaks %s: write one of those if all its plugins speak it too",
			f.name, have, strings.Join(specVersions(), ", "))
	}
	return nil
}
