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
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/atomicdir"
	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Removal describes an uninstallation.
type Removal struct {
	Files []Removed `json:"files"` // that held an entry
	Programs
	Warnings []string `json:"warnings,omitempty"`
	Diff     string   `json:"diff,omitempty"` // of the network configuration
}

// Removed is a file that held an entry.
type Removed struct {
	File    string `json:"file"`
	Network string `json:"network"`
}

// ProgramRemoval is whether Uninstall also removes the plugin and the reaper's program.
type ProgramRemoval int

// The choices of ProgramRemoval.
const (
	KeepPrograms         ProgramRemoval = iota
	RemoveUnusedPrograms                // refuse with a *CachedError while the result cache lists the plugin
	RemovePrograms                      // even then
)

// CachedError is the error of removing the plugin while libcni's result cache lists it.
type CachedError struct{ Attachments []cniconf.CachedAttachment }

// maxListedContainers bounds the containers in the text of a CachedError.
const maxListedContainers = 5

func (e *CachedError) Error() string {
	listed := e.Attachments[:min(len(e.Attachments), maxListedContainers)]
	containers := make([]string, len(listed))
	for i, a := range listed {
		containers[i] = a.Container()
	}
	names := strings.Join(containers, ", ")
	if more := len(e.Attachments) - len(listed); more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("remove the plugin: a cached network configuration of these containers lists it: %s: CRI-O and podman run DEL from that cache, "+
		"and without the plugin they leak the container's addresses: delete the containers first, or use --force (containerd does not use the cache)", names)
}

// Uninstall removes the plugin from every network of the node. It continues past files that it cannot change, and returns
// all of them in the error. It is no error if there is nothing to remove. The programs are removed last, if no network
// lists the plugin any more.
func Uninstall(ctx context.Context, c Config, programs ProgramRemoval) (Removal, error) {
	r := Removal{Files: []Removed{}}
	if err := hostfs.Dir(c.HostRoot).Check(); err != nil {
		return r, err
	}
	if programs == RemoveUnusedPrograms {
		if err := c.checkCache(&r); err != nil {
			return r, err
		}
	}
	_, err := retryBusy(ctx, 0, func() (struct{}, error) { return struct{}{}, c.unchain(ctx, &r) })
	r.Programs = c.installedPrograms()
	if err == nil && programs == RemoveUnusedPrograms {
		err = c.checkCache(&r) // a container may have been created until the entry was removed
	}
	if err == nil && programs != KeepPrograms {
		r.Programs, err = c.removePrograms(ctx)
	}
	return r, err
}

// checkCache returns a *CachedError if libcni's result cache lists the plugin. Files that it cannot read become warnings.
func (c Config) checkCache(r *Removal) error {
	all, problems := cniconf.ReadCache(hostfs.Dir(c.HostRoot), c.CacheDirs)
	for _, p := range problems {
		r.warn("skipped in libcni's result cache: " + p.Error())
	}
	all = slices.DeleteFunc(all, func(a cniconf.CachedAttachment) bool { return !a.Lists(spec.PluginType) })
	if len(all) == 0 {
		return nil
	}
	return &CachedError{all}
}

// unchain removes the plugin from every network.
func (c Config) unchain(ctx context.Context, r *Removal) error {
	d, err := c.openDirectory(c.ConfDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	_, r.Diff, err = c.converge(ctx, d, func() ([]change, error) { return d.planRemoval(r) })
	return err
}

// planRemoval returns the changes that remove every entry, and an error for the others. It adds the
// files with an entry to r.
func (d *directory) planRemoval(r *Removal) (changes []change, err error) {
	files, err := d.load()
	if err != nil {
		return nil, err
	}
	entries, err := d.Entries()
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, f := range files {
		more, err := d.planUnchain(files, f, r)
		changes = append(changes, more...)
		problems = append(problems, err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		for _, p := range d.ourDropIns(e.Name()) {
			r.add(Removed{File: filepath.Join(d.Path(), e.Name(), p.Name), Network: e.Name()})
		}
		changes = append(changes, d.planRemoveDropIns(e.Name())...)
	}
	return changes, errors.Join(problems...)
}

func (r *Removal) add(file Removed) {
	if !slices.Contains(r.Files, file) {
		r.Files = append(r.Files, file)
	}
}

func (r *Removal) warn(text string) {
	if !slices.Contains(r.Warnings, text) {
		r.Warnings = append(r.Warnings, text)
	}
}

// planUnchain plans to remove the entry from a file. A conflist that replaced a file with a single plugin is removed and
// that file restored, unless the conflist has changed otherwise.
func (d *directory) planUnchain(files []file, f file, r *Removal) ([]change, error) {
	switch {
	case f.Err != nil:
		return nil, f.checkUnreadable()
	case !f.IsList() || !f.listsPlugin():
		return nil, nil
	}
	r.add(Removed{File: filepath.Join(d.Path(), f.Name), Network: f.List.Name})
	for _, name := range confNames(f.Name) {
		i := indexOf(files, name)
		saved, err := d.Read(name + savedSuffix)
		removal := d.planMove(f, "")
		switch {
		case i >= 0 && isUnchangedConversion(f, files[i].Data): // restored by an uninstall that was killed
			return []change{removal}, nil
		case err != nil:
		case i < 0 && isUnchangedConversion(f, saved):
			removal.diff = unified(filepath.Join(d.Path(), f.Name), filepath.Join(d.Path(), name), f.Data, saved)
			restore := change{apply: func() error { return d.RenameNew(name+savedSuffix, name) }}
			return []change{restore, removal}, nil
		default:
			r.warn(fmt.Sprintf("%s stays: it is %s as of the installation, and the network has changed since",
				filepath.Join(d.Path(), name+savedSuffix), name))
		}
	}
	return d.planEdit(f, removeEntry)
}

// checkUnreadable returns an error for a file that no runtime can load and that may hold an entry of ours.
func (f file) checkUnreadable() error {
	errno, failed := errors.AsType[unix.Errno](f.Err)
	switch {
	case failed && !errors.Is(errno, fs.ErrNotExist) && errno != unix.ELOOP: // a dangling symbolic link is no network
		return fmt.Errorf("%s may list halfclose, and cannot be read: %w", f.Name, f.Err)
	case !bytes.Contains(f.Data, []byte(`"`+spec.PluginType+`"`)):
		return nil
	case f.recent:
		return fmt.Errorf("%s cannot be loaded (%w): %w", f.Name, f.Err, atomicdir.ErrBusy)
	}
	return fmt.Errorf("%s cannot be loaded (%w), and names halfclose: repair or remove it", f.Name, f.Err)
}
