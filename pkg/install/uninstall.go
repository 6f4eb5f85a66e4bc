// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Removal is what became of the plugin's entries.
type Removal struct {
	Files []Removed `json:"files"` // that held one
	Programs
	Warnings []string `json:"warnings,omitempty"`
	Diff     string   `json:"diff,omitempty"` // of a dry run
}

// Removed is a file that held an entry.
type Removed struct {
	File    string `json:"file"`
	Network string `json:"network"`
}

// Uninstall takes the plugin out of every network of the node. It goes on past what it cannot change, and returns
// all of that in the error; it is no error if there is nothing to do. With programs it removes the plugin
// and what that starts as the reaper too, once no network lists it: a runtime that has made pods while it was listed may
// still call it for them.
func Uninstall(ctx context.Context, c Config, programs bool) (Removal, error) {
	r := Removal{Files: []Removed{}}
	if err := hostfs.Dir(c.HostRoot).Check(); err != nil {
		return r, err
	}
	_, err := patiently(ctx, 0, func() (struct{}, error) { return struct{}{}, c.unchain(ctx, &r) })
	r.Programs = c.leftPrograms()
	if err == nil && programs {
		r.Programs, err = c.removePrograms(ctx)
	}
	return r, err
}

// unchain takes the plugin out of every network.
func (c Config) unchain(ctx context.Context, r *Removal) error {
	d, err := c.openConfDir(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.close()
	for range tries {
		changes, err := d.planRemoval(r)
		if err != nil {
			err = fmt.Errorf("%s: %w", d.path, err)
		}
		if len(changes) == 0 {
			return err
		}
		if c.DryRun {
			r.Diff = diffs(changes)
			return errors.Join(d.checkWritable(), err)
		}
		if _, failed := apply(ctx, changes); failed != nil {
			return errors.Join(failed, err)
		}
	}
	return fmt.Errorf("%s: %w", d.path, errBusy)
}

// planRemoval says what is to be changed for no network to list the plugin, and what of that cannot be. It notes
// where entries are.
func (d *directory) planRemoval(r *Removal) (changes []change, err error) {
	files, err := d.load()
	if err != nil {
		return nil, err
	}
	entries, err := d.entries()
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, f := range files {
		more, err := d.planTakeOut(files, f, r)
		changes = append(changes, more...)
		problems = append(problems, err)
	}
	for _, e := range entries {
		for _, p := range d.ourDropIns(e.Name()) {
			r.note(Removed{File: filepath.Join(d.path, e.Name(), p.Name), Network: e.Name()})
		}
		changes = append(changes, d.planRemoveDropIns(e.Name())...)
	}
	return changes, errors.Join(problems...)
}

func (r *Removal) note(file Removed) {
	if !slices.Contains(r.Files, file) {
		r.Files = append(r.Files, file)
	}
}

// planTakeOut plans that a file has no entry of ours any more. If it has taken the place of a file that holds a
// single plugin, and that is still all that is in it, the old file comes back.
func (d *directory) planTakeOut(files []file, f file, r *Removal) ([]change, error) {
	switch {
	case f.Err != nil:
		return nil, f.unread()
	case !f.IsList() || !f.lists():
		return nil, nil
	}
	r.note(Removed{File: filepath.Join(d.path, f.Name), Network: f.List.Name})
	for _, name := range confNames(f.Name) {
		i := indexOf(files, name)
		saved, err := d.read(name + savedSuffix)
		gone := d.planAside(f, "")
		switch {
		case i >= 0 && restores(f, files[i].Data): // by an installer that was killed
			return []change{gone}, nil
		case err != nil:
		case i < 0 && restores(f, saved.data):
			gone.diff = unified(filepath.Join(d.path, f.Name), filepath.Join(d.path, name), string(f.Data), string(saved.data))
			back := change{apply: func(context.Context) error { return d.place(name+savedSuffix, name) }}
			return []change{back, gone}, nil
		default:
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s is left: it is what %s was before halfclose was installed, and the network has changed since",
				filepath.Join(d.path, name+savedSuffix), name))
		}
	}
	return d.planEdit(f, remove)
}

// unread says what is wrong with a file that no runtime can load, if it may hold an entry of ours.
func (f file) unread() error {
	errno, failed := errors.AsType[unix.Errno](f.Err)
	switch {
	case failed && !errors.Is(errno, fs.ErrNotExist) && errno != unix.ELOOP: // a link that leads nowhere is no network
		return fmt.Errorf("%s may list halfclose, and cannot be read: %w", f.Name, f.Err)
	case !bytes.Contains(f.Data, []byte(`"`+spec.PluginType+`"`)):
		return nil
	case f.fresh:
		return fmt.Errorf("%s cannot be loaded (%w): %w", f.Name, f.Err, errBusy)
	}
	return fmt.Errorf("%s cannot be loaded (%w), and names halfclose: repair or remove it", f.Name, f.Err)
}
