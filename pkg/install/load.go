// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
)

// ErrNoNetwork says that there is no network configuration yet that could be extended.
var ErrNoNetwork = errors.New("there is no network configuration yet")

// file is a file of the configuration directory that a runtime would load.
type file struct {
	cniconf.File
	fresh bool // written a moment ago: a mistake in it may soon be corrected
}

// lists reports whether a file lists a plugin of ours.
func (f file) lists() bool { return slices.ContainsFunc(f.List.Plugins, cniconf.IsOurs) }

// freshTime is how long after its last write a file that cannot be loaded may still be incomplete.
const freshTime = 2 * time.Second

// load reads the files of the directory that a runtime would load, in the order in which it looks at them.
func (d *directory) load() ([]file, error) {
	loaded, err := cniconf.Load(d.dir)
	if errors.Is(err, cniconf.ErrChanging) {
		return nil, errBusy
	}
	if err != nil {
		return nil, advised(err)
	}
	files := make([]file, 0, len(loaded))
	for _, f := range loaded {
		f.Err = advised(f.Err)
		files = append(files, file{f, f.Data != nil && fresh(f.Stat)})
	}
	return files, nil
}

func fresh(stat unix.Stat_t) bool {
	age := time.Since(time.Unix(stat.Mtim.Unix()))
	return age.Abs() < freshTime
}

// choose returns the file that install extends: the first that runtimes can load. warnings name the files before it,
// and drop-ins that cannot be loaded: those keep only some runtimes from loading the network, so that install, unlike
// cniconf.Choose, does not skip it. While one of the files before it is being written, it returns errBusy.
func choose(files []file) (chosen file, warnings []string, err error) {
	var passedOver []string
	for _, f := range files {
		switch {
		case f.Err == nil:
			for _, what := range passedOver {
				warnings = append(warnings, what+": it is passed over, as CRI-O does; containerd loads no network while it is there")
			}
			if f.DropInsErr != nil {
				warnings = append(warnings, fmt.Sprintf("runtimes with libcni 1.3.0 or later cannot load %s because of its drop-ins: %v", f.Name, f.DropInsErr))
			}
			return f, warnings, nil
		case f.fresh:
			return file{}, nil, fmt.Errorf("%s cannot be loaded (%w): %w", f.Name, f.Err, errBusy)
		}
		passedOver = append(passedOver, fmt.Sprintf("%s cannot be loaded: %v", f.Name, f.Err))
	}
	if len(files) == 0 {
		return file{}, nil, ErrNoNetwork
	}
	return file{}, nil, fmt.Errorf("no network configuration can be loaded: %s", strings.Join(passedOver, "; "))
}

// checkVersion says why a network cannot be extended: with the entry in it, no pod would start any more.
func (f file) checkVersion() error {
	version, found := f.UnspokenVersion()
	if !found {
		return nil
	}
	have := "has no cniVersion"
	if version != "" {
		have = fmt.Sprintf("has cniVersion %q", version)
	}
	return fmt.Errorf("%s %s, and halfclose speaks %s: write one of those if all its plugins speak it too",
		f.Name, have, strings.Join(spec.Versions(), ", "))
}
