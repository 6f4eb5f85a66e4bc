// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Config says what is installed, and where. Directories are paths of the node.
type Config struct {
	HostRoot string // where the node's file system is mounted; empty, or "/", where it is one's own
	BinDir   string // where the node's runtime looks for plugins, such as spec.DefaultBinDir
	ConfDir  string // and for networks, such as spec.DefaultConfDir
	Plugin   string // the plugin to install, a path of this process; see FindPlugin
	Command  string // the halfclose command that the plugin starts as the reaper, absolute and without links
	// Copy puts a copy of the command beside the plugin. Else it is a symbolic link, unless HostRoot is another root: the
	// command is then a path of a container.
	Copy bool

	Entry  Entry
	DropIn bool // in a file of its own, which only some runtimes load

	// TrustBinDir takes BinDir as it is. Else the network's first plugin must be in it, since a runtime that
	// looks elsewhere would find no halfclose, and start no pod.
	TrustBinDir bool
	DryRun      bool          // change nothing, and say what would change
	Wait        time.Duration // how long Install waits for the first network
	// OnWait is told once why Install waits for it; nil for nobody. It does not go to another process with the rest.
	OnWait func(error) `json:"-"`
}

// Result is what became of the plugin's entry.
type Result struct {
	Network string `json:"network"` // the network that runtimes choose
	File    string `json:"file"`    // where its entry is
	Changed bool   `json:"changed"` // the configuration was written, or would be
	Programs
	Warnings []string `json:"warnings,omitempty"`
	Diff     string   `json:"diff,omitempty"` // of a dry run
}

// Install puts the program that the plugin starts as the reaper among the node's plugins, then the plugin, and then the
// entry into the network that runtimes choose, once. It writes nothing that is as it should be. If another process is
// writing the configuration, it retries for 5 s. The error is ErrNoNetwork where there is no network, for as long as Wait
// says.
//
// It needs the right to write in both directories.
func Install(ctx context.Context, c Config) (Result, error) {
	programs, err := c.putPrograms(ctx, false)
	if err != nil {
		return Result{Programs: programs}, err
	}
	told := c.OnWait == nil || c.Wait == 0
	r, err := patiently(ctx, c.Wait, func() (Result, error) {
		r, err := c.chain(ctx)
		if errors.Is(err, ErrNoNetwork) && !told {
			told = true
			c.OnWait(err)
		}
		return r, err
	})
	return c.complete(r, programs), err
}

// complete adds what the programs' part of an installation has to report.
func (c Config) complete(r Result, programs Programs) Result {
	r.Programs = programs
	r.Warnings = append(c.launchWarnings(), r.Warnings...)
	return r
}

// How long somebody else may be writing before that is an error, and how often one looks.
const (
	busyPatience = 5 * time.Second
	lookEvery    = 100 * time.Millisecond
)

// patiently tries again what may be right in a moment, or within the time given where there is no network yet.
func patiently[T any](ctx context.Context, wait time.Duration, try func() (T, error)) (T, error) {
	began := time.Now()
	for {
		v, err := try()
		patience := time.Duration(0)
		switch {
		case errors.Is(err, errBusy):
			patience = max(wait, busyPatience)
		case errors.Is(err, ErrNoNetwork):
			patience = wait
		}
		if time.Since(began) >= patience || !pause(ctx, min(lookEvery, patience-time.Since(began))) {
			return v, err
		}
	}
}

// chain puts the entry into the network that runtimes choose.
func (c Config) chain(ctx context.Context) (Result, error) {
	var r Result
	d, err := c.openConfDir(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("%w: there is no directory %s", ErrNoNetwork, c.ConfDir)
	}
	if err != nil {
		return r, err
	}
	defer d.close()
	complete := false
	for range tries {
		changes, err := c.plan(d, &r)
		if err != nil {
			return r, fmt.Errorf("%s: %w", c.ConfDir, err)
		}
		if len(changes) == 0 {
			return r, nil
		}
		if c.DryRun {
			r.Changed, r.Diff = true, diffs(changes)
			return r, d.checkWritable()
		}
		if complete { // all was as it should be, and is not any more: that is for later
			break
		}
		taken, err := apply(ctx, changes)
		r.Changed, complete = r.Changed || taken > 0, taken == len(changes)
		if err != nil {
			return r, fmt.Errorf("%s: %w", c.ConfDir, err)
		}
	}
	return r, fmt.Errorf("%s: %w", c.ConfDir, errBusy)
}

// openConfDir opens the directory of the networks. It is one's own until it is closed, and what another left
// that was killed there is gone, unless this is a dry run.
func (c Config) openConfDir(ctx context.Context) (*directory, error) {
	d, err := openDirectory(hostfs.Dir(c.HostRoot), c.ConfDir)
	if err != nil || c.DryRun {
		return d, err
	}
	err = d.lock(ctx, lockPatience)
	if err == nil {
		err = d.tidy()
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// plan says what is to be changed for the entry to be where it should be.
func (c Config) plan(d *directory, r *Result) ([]change, error) {
	files, err := d.load()
	if err != nil {
		return nil, err
	}
	f, warnings, err := choose(files)
	if err != nil {
		return nil, err
	}
	r.Network, r.File, r.Warnings = f.List.Name, filepath.Join(d.path, f.Name), warnings
	if err := errors.Join(f.checkVersion(), c.checkPlugins(f)); err != nil {
		return nil, err
	}
	conf, again := rewritten(files, f)
	switch {
	case c.DropIn:
		r.File = filepath.Join(d.path, f.List.Name, dropInName)
		return c.planDropIn(d, f)
	case again:
		return c.planConvert(d, files, conf)
	case f.IsList():
		changes, err := d.planEdit(f, func(data []byte) ([]byte, error) { return add(data, c.Entry) })
		return append(d.planRemoveDropIns(f.List.Name), changes...), err
	}
	r.File = filepath.Join(d.path, listName(f.Name))
	return c.planConvert(d, files, f)
}
