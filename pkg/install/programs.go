// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/launch"
)

// Program is a file among the node's plugins.
type Program struct {
	Path    string `json:"path"`
	Link    string `json:"link,omitempty"` // what it leads to, if it is a symbolic link
	Changed bool   `json:"changed"`        // it was written, or removed, or would be
}

// Programs are the files among the node's plugins.
type Programs struct {
	Plugin Program `json:"plugin"`
	// Reaper is what the plugin starts as the reaper; nil where the entry says that it starts none.
	Reaper *Program `json:"reaper,omitempty"`
}

// changed reports whether one of them was written, or removed, or would be.
func (p Programs) changed() bool { return p.Plugin.Changed || p.Reaper != nil && p.Reaper.Changed }

// programs are the files as they are called in the directory of the plugins.
func (c Config) programs() Programs {
	p := Programs{Plugin: Program{Path: filepath.Join(c.BinDir, spec.PluginType)}}
	if c.Entry.startsReaper() {
		p.Reaper = &Program{Path: filepath.Join(c.BinDir, launch.ReaperName)}
		if c.links() {
			p.Reaper.Link = c.Command
		}
	}
	return p
}

// links reports whether the reaper's program is a symbolic link to the command. In a container it would lead to a path
// that the host does not have.
func (c Config) links() bool { return !c.Copy && hostfs.Dir(c.HostRoot).IsOwn() }

// putPrograms puts the plugin among the node's plugins, and before it the program that it starts as the reaper if the
// entry asks for that. Each takes one step: another process may be executing the old one. With keep an existing
// program is left, whichever it is.
func (c Config) putPrograms(ctx context.Context, keep bool) (Programs, error) {
	done := c.programs()
	if err := hostfs.Dir(c.HostRoot).Check(); err != nil {
		return done, err
	}
	d, err := openDirectory(hostfs.Dir(c.HostRoot), c.BinDir)
	if errors.Is(err, fs.ErrNotExist) {
		return done, fmt.Errorf("there is no directory %s: name the one in which the runtime looks for plugins with --cni-bin-dir", c.BinDir)
	}
	if err != nil {
		return done, err
	}
	defer d.close()
	put := putter{config: c, directory: d, keep: keep}
	if done.Reaper != nil {
		if done.Reaper.Changed, err = put.reaper(ctx); err != nil {
			return done, err
		}
	}
	done.Plugin.Changed, err = put.copy(ctx, spec.PluginType, c.Plugin)
	return done, err
}

// putter puts programs into a directory. It locks the directory before the first change.
type putter struct {
	config    Config
	directory *directory
	keep      bool // existing programs
	locked    bool
}

// reaper puts the program that the plugin starts as the reaper, and reports whether it changed.
func (p *putter) reaper(ctx context.Context) (changed bool, err error) {
	c, d := p.config, p.directory
	if !c.links() {
		return p.copy(ctx, launch.ReaperName, c.Command)
	}
	switch {
	case d.isFile(launch.ReaperName, c.Command):
		return false, nil // the command runs from there
	case d.isFile(spec.PluginType, c.Command):
		return false, fmt.Errorf("this command is %s, where the plugin belongs: move it to another directory, such as /usr/local/bin, or use --copy", c.Command)
	case p.keep && d.runnable(launch.ReaperName), d.leadsTo(launch.ReaperName, c.Command):
		return false, nil
	}
	return p.placeFile(ctx, launch.ReaperName, []byte(c.Command), func(tmp string) error {
		return d.failed("link", tmp, unix.Symlinkat(c.Command, d.fd(), tmp))
	})
}

// copy puts a copy of a program, and reports whether it changed.
func (p *putter) copy(ctx context.Context, name, source string) (changed bool, err error) {
	d := p.directory
	if p.keep && d.runnable(name) {
		return false, nil
	}
	program, err := os.ReadFile(source)
	if err != nil {
		return false, fmt.Errorf("read the program to install: %w", err)
	}
	if d.isLike(name, mine(programMode)) && d.holds(name, program) {
		return false, nil
	}
	return p.placeFile(ctx, name, program, func(tmp string) error {
		_, err := d.create(tmp, program, mine(programMode))
		return err
	})
}

// placeFile makes a file under a temporary name and renames it, unless this is a dry run.
func (p *putter) placeFile(ctx context.Context, name string, content []byte, create func(tmp string) error) (changed bool, err error) {
	d := p.directory
	if err := d.checkPlace(name); err != nil {
		return false, err
	}
	if p.config.DryRun {
		return true, d.checkWritable()
	}
	if !p.locked {
		if err := d.lock(ctx, lockPatience); err != nil {
			return true, err
		}
		p.locked = true
		if err := d.tidy(); err != nil {
			return true, err
		}
	}
	tmp := temporary(name, content)
	if err := create(tmp); err != nil {
		return true, err
	}
	if err := d.rename(tmp, name, 0); err != nil {
		return true, errors.Join(err, d.remove(tmp))
	}
	return true, d.sync()
}

// isFile reports whether a file in the directory is the one at a path of this process, and no link to it.
func (d *directory) isFile(name, path string) bool {
	var a, b unix.Stat_t
	return unix.Fstatat(d.fd(), name, &a, unix.AT_SYMLINK_NOFOLLOW) == nil && unix.Stat(path, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// leadsTo reports whether a file is a symbolic link with this text.
func (d *directory) leadsTo(name, target string) bool {
	b := make([]byte, len(target)+1)
	n, err := unix.Readlinkat(d.fd(), name, b)
	return err == nil && string(b[:n]) == target
}

// removePrograms removes the plugin, and then the program that it starts as the reaper.
func (c Config) removePrograms(ctx context.Context) (Programs, error) {
	done := c.leftPrograms()
	d, err := openDirectory(hostfs.Dir(c.HostRoot), c.BinDir)
	if errors.Is(err, fs.ErrNotExist) {
		return done, nil
	}
	if err != nil {
		return done, err
	}
	defer d.close()
	if !c.DryRun {
		if err := d.lock(ctx, lockPatience); err != nil {
			return done, err
		}
	}
	present := Programs{Plugin: done.Plugin, Reaper: &Program{Path: done.Reaper.Path}}
	for _, p := range []*Program{&present.Plugin, present.Reaper} {
		name := filepath.Base(p.Path)
		var st unix.Stat_t
		p.Changed = !errors.Is(unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW), fs.ErrNotExist)
		if err := d.checkPlace(name); err != nil {
			return done, err
		}
	}
	switch {
	case !present.changed():
		return done, nil
	case c.DryRun:
		return present, d.checkWritable()
	}
	if err := d.tidy(); err != nil {
		return done, err
	}
	for _, p := range []*Program{&done.Plugin, done.Reaper} {
		err := d.remove(filepath.Base(p.Path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // another process may have removed it without the lock
			return done, errors.Join(err, d.sync())
		}
		p.Changed = err == nil
	}
	return done, d.sync()
}

// leftPrograms are the programs of an uninstallation that leaves them.
func (c Config) leftPrograms() Programs {
	return Programs{
		Plugin: Program{Path: filepath.Join(c.BinDir, spec.PluginType)},
		Reaper: &Program{Path: filepath.Join(c.BinDir, launch.ReaperName)},
	}
}

// launchWarnings says why the plugin will not start the reaper, as ADD finds it out.
func (c Config) launchWarnings() []string {
	if !c.Entry.startsReaper() {
		return nil
	}
	err := c.checkReaper()
	if err == nil {
		return nil
	}
	owned := errors.Is(err, launch.ErrNotRoots) || errors.Is(err, launch.ErrWritable)
	remedy := "run halfclose reaper as a service and install with --reaper external"
	switch {
	case owned && c.links() && launch.CheckDirectory(c.HostRoot, c.BinDir) == nil:
		remedy = "make it root's and writable by root alone, or use --copy"
	case owned:
		remedy = "make it root's and writable by root alone, or " + remedy
	}
	return []string{fmt.Sprintf("ADD will not start the reaper: %v: %s", err, remedy)}
}

// checkReaper is ADD's own check after an installation. A dry run checks what it can before the files are in place.
func (c Config) checkReaper() error {
	var p *launch.Program
	var err error
	switch {
	case !c.DryRun:
		p, err = launch.SiblingOf(c.HostRoot, filepath.Join(c.BinDir, spec.PluginType))
	case launch.CheckDirectory(c.HostRoot, c.BinDir) != nil || !c.links():
		return launch.CheckDirectory(c.HostRoot, c.BinDir)
	default:
		p, err = launch.Check("", c.Command)
	}
	if err == nil {
		p.Close()
	}
	return err
}
