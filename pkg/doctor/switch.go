// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/state"
)

// switchFile is this node's mode switch.
type switchFile struct {
	path  string
	set   bool
	value state.Switch
	err   error // of reading it
	write error // of asking whether it can be set
	fs    filesystem
}

func inspectSwitch(path string) switchFile {
	s := switchFile{path: path}
	s.value, s.set, s.err = state.LoadSwitch(path)
	dir := deepest(filepath.Dir(path))
	s.fs = inspectFilesystem(dir)
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		s.write = &fs.PathError{Op: "write in", Path: dir, Err: err}
	}
	return s
}

// judgeSwitch says whether "halfclose mode" can work.
func judgeSwitch(s switchFile) []Finding {
	var all []Finding
	if s.err != nil {
		f := Finding{Check: "switch", Level: Warn, What: fmt.Sprintf("%v: every reaper observes only", s.err), Do: "halfclose mode destroy (or observe), which writes it anew"}
		if errors.Is(s.err, fs.ErrPermission) {
			f.What, f.Do = s.err.Error(), "run it as root"
		}
		all = append(all, f)
	}
	switch {
	case s.write != nil && errors.Is(s.write, unix.EACCES):
		all = append(all, Finding{
			Check: "switch", Level: Info, What: fmt.Sprintf("the mode switch %s cannot be set from here: %v", s.path, s.write), Do: "run halfclose mode as root",
		})
	case s.write != nil:
		all = append(all, Finding{
			Check: "switch", Level: Warn, What: fmt.Sprintf("the mode switch %s cannot be set: %v", s.path, s.write),
			Do: fmt.Sprintf("make %s writable for root (in a container: mount the host's directory there, so that the switch outlives the container)", filepath.Dir(s.path)),
		})
	case s.fs.name() == "overlay":
		all = append(all, Finding{
			Check: "switch", Level: Warn, What: fmt.Sprintf("the mode switch %s is on a container's own file system (overlay): it goes with the container, and no other reaper sees it", s.path),
			Do: fmt.Sprintf("mount the host's %s there", filepath.Dir(s.path)),
		})
	case s.fs.volatile():
		all = append(all, Finding{
			Check: "switch", Level: Info, What: fmt.Sprintf("the mode switch %s is on %s: a reboot forgets what it was set to", s.path, s.fs.name()),
			Do: fmt.Sprintf("nothing, if that is meant to be; else leave %s unset, or set it to a directory that a reboot does not empty", state.EnvDir),
		})
	case s.err == nil:
		all = append(all, Finding{Check: "switch", What: fmt.Sprintf("halfclose mode can stop all destroying at once, and does so for later reapers too (%s)", s.path)})
	}
	return all
}
