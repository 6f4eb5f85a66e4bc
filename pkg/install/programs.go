// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/atomicdir"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/launch"
)

// programMode is the mode of an installed program.
const programMode = 0o755

// Program is a file in the plugin directory.
type Program struct {
	Path    string `json:"path"`
	Link    string `json:"link,omitempty"` // the target if it is a symbolic link
	Changed bool   `json:"changed"`        // it was written or removed; in a dry run, would be
}

// Programs are our files in the plugin directory.
type Programs struct {
	Plugin Program `json:"plugin"`
	// Reaper is the program that the plugin starts as the reaper; nil if the entry has an external reaper.
	Reaper *Program `json:"reaper,omitempty"`
}

func (p Programs) changed() bool { return p.Plugin.Changed || p.Reaper != nil && p.Reaper.Changed }

// programs returns the files to install, unchanged so far.
func (c Config) programs() Programs {
	p := Programs{Plugin: Program{Path: filepath.Join(c.BinDir, spec.PluginType)}}
	if c.Entry.startsReaper() {
		p.Reaper = &Program{Path: filepath.Join(c.BinDir, launch.ReaperName)}
		if c.linksReaper() {
			p.Reaper.Link = c.Command
		}
	}
	return p
}

// linksReaper reports whether the reaper's program is a symbolic link to the command. A link to a path of a container
// would be dangling on the host.
func (c Config) linksReaper() bool { return !c.Copy && hostfs.Dir(c.HostRoot).IsOwn() }

// putPrograms installs the reaper's program, if the entry needs it, and then the plugin. Each is replaced in one step, since
// another process may be executing the old one. With keep, an existing executable file stays, whatever it holds.
func (c Config) putPrograms(ctx context.Context, keep bool) (Programs, error) {
	done := c.programs()
	if err := hostfs.Dir(c.HostRoot).Check(); err != nil {
		return done, err
	}
	d, err := c.openDirectory(c.BinDir)
	if errors.Is(err, fs.ErrNotExist) {
		return done, fmt.Errorf("there is no directory %s: name the runtime's plugin directory with --cni-bin-dir", c.BinDir)
	}
	if err != nil {
		return done, err
	}
	defer d.Close()
	if err := c.removeRemains(ctx, d); err != nil {
		return done, err
	}
	i := programInstaller{config: c, dir: d, keep: keep}
	if done.Reaper != nil {
		if done.Reaper.Changed, err = i.installReaper(ctx); err != nil {
			return done, err
		}
	}
	done.Plugin.Changed, err = i.installCopy(ctx, spec.PluginType, c.Plugin)
	return done, err
}

// programInstaller installs programs into a directory, which it locks before the first change.
type programInstaller struct {
	config Config
	dir    *directory
	keep   bool // existing programs
}

func (i *programInstaller) installReaper(ctx context.Context) (changed bool, err error) {
	c, d := i.config, i.dir
	if !c.linksReaper() {
		return i.installCopy(ctx, launch.ReaperName, c.Command)
	}
	switch {
	case d.isFile(launch.ReaperName, c.Command):
		return false, nil // the command was started from there
	case d.isFile(spec.PluginType, c.Command):
		return false, fmt.Errorf("this command is %s, which is the plugin's path: move it to another directory, such as /usr/local/bin, or use --copy", c.Command)
	case i.keep && d.isExecutable(launch.ReaperName), d.isLinkTo(launch.ReaperName, c.Command):
		return false, nil
	}
	return i.put(ctx, launch.ReaperName, func() error { return d.PutLink(launch.ReaperName, c.Command) })
}

func (i *programInstaller) installCopy(ctx context.Context, name, source string) (changed bool, err error) {
	d := i.dir
	if i.keep && d.isExecutable(name) {
		return false, nil
	}
	program, err := os.ReadFile(source)
	if err != nil {
		return false, fmt.Errorf("read the program to install: %w", err)
	}
	if d.holdsProgram(name, program) {
		return false, nil
	}
	return i.put(ctx, name, func() error { return d.PutFile(name, program, atomicdir.DefaultOwner(programMode)) })
}

// put replaces a program. In a dry run it only checks whether that can work.
func (i *programInstaller) put(ctx context.Context, name string, put func() error) (changed bool, err error) {
	d := i.dir
	if err := d.checkNoDirectory(name); err != nil {
		return false, err
	}
	if i.config.DryRun {
		return true, d.CheckWritable()
	}
	if !d.Locked() {
		if err := d.lock(ctx); err != nil {
			return true, err
		}
	}
	return true, put()
}

// isExecutable reports whether a file, or the target of a symbolic link, can be executed by everyone.
func (d *directory) isExecutable(name string) bool {
	var stat unix.Stat_t
	return unix.Fstatat(d.FD(), name, &stat, 0) == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG && stat.Mode&0o111 == 0o111
}

// holdsProgram reports whether a regular file has the data, the mode and the owner of an installed program.
func (d *directory) holdsProgram(name string, program []byte) bool {
	f, err := d.Host().Open(name, unix.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	var stat unix.Stat_t
	want := atomicdir.DefaultOwner(programMode)
	if unix.Fstat(int(f.Fd()), &stat) != nil || stat.Mode != unix.S_IFREG|want.Mode || stat.Uid != want.Uid || stat.Size != int64(len(program)) {
		return false
	}
	data := make([]byte, len(program))
	_, err = f.ReadAt(data, 0)
	return err == nil && bytes.Equal(data, program)
}

// isFile reports whether a file in the directory is the one at a path of this process, and no symbolic link.
func (d *directory) isFile(name, path string) bool {
	var other unix.Stat_t
	stat, err := d.Lstat(name)
	return err == nil && unix.Stat(path, &other) == nil && stat.Dev == other.Dev && stat.Ino == other.Ino
}

// isLinkTo reports whether a file is a symbolic link with that target.
func (d *directory) isLinkTo(name, target string) bool {
	b := make([]byte, len(target)+1)
	n, err := unix.Readlinkat(d.FD(), name, b)
	return err == nil && string(b[:n]) == target
}

// checkNoDirectory returns an error if a directory has the program's name: neither rename(2) nor unlink(2) removes it.
func (d *directory) checkNoDirectory(name string) error {
	stat, err := d.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && stat.Mode&unix.S_IFMT == unix.S_IFDIR:
		return fmt.Errorf("%w, and a program needs this name: remove it", d.PathError("check", name, unix.EISDIR))
	}
	return d.PathError("stat", name, err)
}

// installedPrograms returns the files to remove, unchanged so far.
func (c Config) installedPrograms() Programs {
	return Programs{
		Plugin: Program{Path: filepath.Join(c.BinDir, spec.PluginType)},
		Reaper: &Program{Path: filepath.Join(c.BinDir, launch.ReaperName)},
	}
}

// removePrograms removes the plugin, and then the program that it starts as the reaper.
func (c Config) removePrograms(ctx context.Context) (Programs, error) {
	done := c.installedPrograms()
	d, err := c.openDirectory(c.BinDir)
	if errors.Is(err, fs.ErrNotExist) {
		return done, nil
	}
	if err != nil {
		return done, err
	}
	defer d.Close()
	if err := c.removeRemains(ctx, d); err != nil {
		return done, err
	}
	existing := c.installedPrograms()
	for _, p := range []*Program{&existing.Plugin, existing.Reaper} {
		name := filepath.Base(p.Path)
		_, err := d.Lstat(name)
		p.Changed = !errors.Is(err, fs.ErrNotExist)
		if err := d.checkNoDirectory(name); err != nil {
			return done, err
		}
	}
	switch {
	case !existing.changed():
		return done, nil
	case c.DryRun:
		return existing, d.CheckWritable()
	}
	if !d.Locked() {
		if err := d.lock(ctx); err != nil {
			return done, err
		}
	}
	for _, p := range []*Program{&done.Plugin, done.Reaper} {
		err := d.Remove(filepath.Base(p.Path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // another uninstall may have removed it before the lock was taken
			return done, errors.Join(err, d.Sync())
		}
		p.Changed = err == nil
	}
	return done, d.Sync()
}

// launchWarnings returns why the plugin's ADD will refuse to start the reaper.
func (c Config) launchWarnings() []string {
	if !c.Entry.startsReaper() {
		return nil
	}
	err := c.checkReaper()
	if err == nil {
		return nil
	}
	wrongOwner := errors.Is(err, launch.ErrNotRoots) || errors.Is(err, launch.ErrWritable)
	remedy := "run halfclose reaper as a service and install with --reaper external"
	switch {
	case wrongOwner && c.linksReaper() && launch.CheckDirectory(c.HostRoot, c.BinDir) == nil:
		remedy = "make it root's and writable by root alone, or use --copy"
	case wrongOwner:
		remedy = "make it root's and writable by root alone, or " + remedy
	}
	return []string{fmt.Sprintf("ADD will not start the reaper: %v: %s", err, remedy)}
}

// checkReaper checks the installed reaper's program as ADD does. A dry run checks as much as it can before the
// installation.
func (c Config) checkReaper() error {
	var p *launch.Program
	var err error
	switch {
	case !c.DryRun:
		p, err = launch.SiblingOf(c.HostRoot, filepath.Join(c.BinDir, spec.PluginType))
	case launch.CheckDirectory(c.HostRoot, c.BinDir) != nil || !c.linksReaper():
		return launch.CheckDirectory(c.HostRoot, c.BinDir)
	default:
		p, err = launch.Check("", c.Command)
	}
	if err == nil {
		p.Close()
	}
	return err
}
