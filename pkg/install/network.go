// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/atomicdir"
	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// ErrNoNetwork is the error if no network configuration exists yet.
var ErrNoNetwork = errors.New("there is no network configuration yet")

// file is a file of the network directory that a runtime would load.
type file struct {
	cniconf.File
	recent bool // written a moment ago, so a syntax error may be an unfinished write
}

// listsPlugin reports whether the file itself lists the plugin.
func (f file) listsPlugin() bool { return slices.ContainsFunc(f.List.Plugins, cniconf.IsOurs) }

// ourEntries returns the plugin's objects in a network and in its drop-ins.
func (d *directory) ourEntries(f file) (entries [][]byte) {
	for _, p := range f.List.Plugins {
		if cniconf.IsOurs(p) {
			entries = append(entries, p.Bytes)
		}
	}
	for _, p := range d.ourDropIns(f.List.Name) {
		entries = append(entries, p.Data)
	}
	return entries
}

// recentAge is the time after its last write in which a file that cannot be loaded may be incomplete.
const recentAge = 2 * time.Second

// load reads the files of the directory that a runtime would load, in the runtime's order.
func (d *directory) load() ([]file, error) {
	d.Step("load", "")
	loaded, err := cniconf.Load(d.Host())
	if errors.Is(err, cniconf.ErrChanging) {
		return nil, atomicdir.ErrBusy
	}
	if err != nil {
		return nil, atomicdir.WithRemedy(err)
	}
	files := make([]file, 0, len(loaded))
	for _, f := range loaded {
		f.Err = atomicdir.WithRemedy(f.Err)
		files = append(files, file{f, f.Data != nil && isRecent(f.Stat)})
	}
	return files, nil
}

func isRecent(stat unix.Stat_t) bool {
	age := time.Since(time.Unix(stat.Mtim.Unix()))
	return age.Abs() < recentAge
}

// choose returns the file that install extends: the first that runtimes can load. The warnings name the files before it
// and drop-ins that cannot be loaded. Those stop only some runtimes from loading the network, so install, unlike
// cniconf.Choose, does not skip it. While a file before it is being written, the error is atomicdir.ErrBusy.
func choose(files []file) (chosen file, warnings []string, err error) {
	var skipped []string
	for _, f := range files {
		switch {
		case f.Err == nil:
			for _, s := range skipped {
				warnings = append(warnings, s+": CRI-O skips it; containerd loads no network until it is fixed or removed")
			}
			if f.DropInsErr != nil {
				warnings = append(warnings, fmt.Sprintf("runtimes with libcni 1.3.0 or later cannot load %s because of its drop-ins: %v", f.Name, f.DropInsErr))
			}
			return f, warnings, nil
		case f.recent:
			return file{}, nil, fmt.Errorf("%s cannot be loaded (%w): %w", f.Name, f.Err, atomicdir.ErrBusy)
		}
		skipped = append(skipped, fmt.Sprintf("%s cannot be loaded: %v", f.Name, f.Err))
	}
	if len(files) == 0 {
		return file{}, nil, ErrNoNetwork
	}
	return file{}, nil, fmt.Errorf("no network configuration can be loaded: %s", strings.Join(skipped, "; "))
}

// checkVersion returns an error for a network with a cniVersion that the plugin does not support. With an entry in such a
// network no pod would start.
func (f file) checkVersion() error {
	version, found := f.UnsupportedVersion()
	if !found {
		return nil
	}
	problem := "has no cniVersion"
	if version != "" {
		problem = fmt.Sprintf("has cniVersion %q", version)
	}
	return fmt.Errorf("%s %s, and halfclose supports %s: set one of those if all its plugins support it",
		f.Name, problem, strings.Join(spec.Versions(), ", "))
}

// checkFirstPlugin returns an error if the network's first plugin is not in BinDir, since the runtime then has another
// plugin directory. A symbolic link counts even if its target is outside the container's mounts.
func (c Config) checkFirstPlugin(f file) error {
	if c.TrustBinDir || len(f.List.Plugins) == 0 {
		return nil
	}
	first := filepath.Join(c.BinDir, filepath.Base(f.List.Plugins[0].Network.Type))
	bin, err := hostfs.Dir(c.HostRoot).Open(first, unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s, the first plugin of %s, does not exist: name the runtime's plugin directory with --cni-bin-dir", first, f.Name)
	}
	if err != nil {
		return err
	}
	return bin.Close()
}
