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

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/atomicdir"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Config is what to install and where. Directories are paths of the node.
type Config struct {
	HostRoot string // where the node's file system is mounted; "" or "/" for this process's own
	BinDir   string // the runtime's plugin directory, such as spec.DefaultBinDir
	ConfDir  string // the runtime's network directory, such as spec.DefaultConfDir
	Plugin   string // the plugin to install, a path of this process; see pluginbuild.Find
	Command  string // the halfclose command that the plugin starts as the reaper, absolute and without symbolic links
	// Copy installs a copy of the command next to the plugin instead of a symbolic link. Below another HostRoot it is
	// always a copy, since the command is a path of the container.
	Copy bool

	Entry  Entry
	DropIn bool // put the entry into a drop-in file, which only some runtimes load

	// TrustBinDir accepts any BinDir. Otherwise it must hold the first plugin of the network: with an entry for a plugin
	// that the runtime does not find, no pod starts.
	TrustBinDir bool
	DryRun      bool          // change nothing, return the diff
	Wait        time.Duration // how long Install waits for the first network to appear
	OnWait      func(error)   // called once with the reason when Install starts to wait for a network; may be nil

	CacheDirs []string // libcni's result caches, which Uninstall reads; see cniconf.CacheDirs

	onStep func(op, path string) // called before each operation on a file, for tests; may be nil
}

// Result describes an installation.
type Result struct {
	Network string `json:"network"` // the network that runtimes choose
	File    string `json:"file"`    // the file with the entry
	Changed bool   `json:"changed"` // the configuration was written; in a dry run, would be
	Programs
	Warnings []string `json:"warnings,omitempty"`
	// Dropped are the keys of an existing entry that the new one does not have.
	Dropped []string `json:"dropped,omitempty"`
	Diff    string   `json:"diff,omitempty"` // of the network configuration
}

// Install installs the reaper's program, then the plugin, then the entry in the network that runtimes choose. It writes
// only what differs. If another process is writing the configuration, it retries for 5 s. If there is no network after
// Wait, the error is ErrNoNetwork.
//
// It needs write access to both directories.
func Install(ctx context.Context, c Config) (Result, error) {
	programs, err := c.putPrograms(ctx, false)
	if err != nil {
		return Result{Programs: programs}, err
	}
	reported := c.OnWait == nil || c.Wait == 0
	r, err := retryBusy(ctx, c.Wait, func() (Result, error) {
		r, err := c.chain(ctx)
		if errors.Is(err, ErrNoNetwork) && !reported {
			reported = true
			c.OnWait(err)
		}
		return r, err
	})
	return c.complete(r, programs), err
}

// complete adds the programs and their warnings to a result.
func (c Config) complete(r Result, programs Programs) Result {
	r.Programs = programs
	r.Warnings = append(c.launchWarnings(), r.Warnings...)
	return r
}

// While another process writes the configuration, an operation is repeated at this interval for this long.
const (
	busyTimeout       = 5 * time.Second
	busyRetryInterval = 100 * time.Millisecond
)

// retryBusy repeats try while its error is ErrBusy, and for the time given while it is ErrNoNetwork.
func retryBusy[T any](ctx context.Context, wait time.Duration, try func() (T, error)) (T, error) {
	began := time.Now()
	for {
		v, err := try()
		timeout := time.Duration(0)
		switch {
		case errors.Is(err, atomicdir.ErrBusy):
			timeout = max(wait, busyTimeout)
		case errors.Is(err, ErrNoNetwork):
			timeout = wait
		}
		if left := timeout - time.Since(began); left <= 0 || !sleep(ctx, min(busyRetryInterval, left)) {
			return v, err
		}
	}
}

// sleep reports whether the time has passed, and not ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// chain puts the entry into the network that runtimes choose.
func (c Config) chain(ctx context.Context) (r Result, err error) {
	d, err := c.openDirectory(c.ConfDir)
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("%w: there is no directory %s", ErrNoNetwork, c.ConfDir)
	}
	if err != nil {
		return r, err
	}
	defer d.Close()
	r.Changed, r.Diff, err = c.converge(ctx, d, func() ([]change, error) { return c.plan(d, &r) })
	return r, err
}

// maxRounds bounds how often in a row a change by another process makes a plan obsolete.
const maxRounds = 10

// converge plans and applies changes until none is needed. It takes the directory's lock before the first change. A plan
// may consist of changes and an error about files that it leaves out. It returns the diff of the applied plans, in a dry run
// of the first plan.
func (c Config) converge(ctx context.Context, d *directory, plan func() ([]change, error)) (changed bool, diff string, err error) {
	wrap := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", d.Path(), err)
	}
	if err := c.removeRemains(ctx, d); err != nil {
		return false, "", err
	}
	complete := false
	for range maxRounds {
		changes, err := plan()
		switch {
		case len(changes) == 0:
			return changed, diff, wrap(err)
		case c.DryRun:
			return true, diffs(changes), errors.Join(d.CheckWritable(), wrap(err))
		case complete: // another process has undone the last change: leave the next try to the caller
			return changed, diff, wrap(atomicdir.ErrBusy)
		case !d.Locked():
			if err := d.lock(ctx); err != nil {
				return false, "", err
			}
			continue // the files may have changed since the plan
		}
		applied, failed := apply(changes)
		changed, complete, diff = changed || applied > 0, applied == len(changes), diff+diffs(changes[:applied])
		if failed != nil {
			return changed, diff, errors.Join(wrap(failed), wrap(err))
		}
	}
	return changed, diff, wrap(atomicdir.ErrBusy)
}

// plan returns the changes that put the entry where it belongs.
func (c Config) plan(d *directory, r *Result) ([]change, error) {
	files, err := d.load()
	if err != nil {
		return nil, err
	}
	f, warnings, err := choose(files)
	if err != nil {
		return nil, err
	}
	r.Network, r.File, r.Warnings = f.List.Name, filepath.Join(d.Path(), f.Name), warnings
	if err := errors.Join(f.checkVersion(), c.checkFirstPlugin(f)); err != nil {
		return nil, err
	}
	if len(r.Dropped) == 0 { // otherwise an earlier round has replaced the entry
		r.Dropped = c.Entry.lacks(d.ourEntries(f))
	}
	conf, rewritten := rewrittenConf(files, f)
	switch {
	case c.DropIn:
		r.File = filepath.Join(d.Path(), f.List.Name, dropInName)
		return c.planDropIn(d, f)
	case rewritten:
		return c.planConversion(d, files, conf)
	case f.IsList():
		changes, err := d.planEdit(f, func(data []byte) ([]byte, error) { return addEntry(data, c.Entry) })
		return append(d.planRemoveDropIns(f.List.Name), changes...), err
	}
	r.File = filepath.Join(d.Path(), listName(f.Name))
	return c.planConversion(d, files, f)
}

// directory is a directory of the node that install changes.
type directory struct{ *atomicdir.Dir }

func (c Config) openDirectory(path string) (*directory, error) {
	d, err := atomicdir.Open(hostfs.Dir(c.HostRoot), path, c.onStep)
	if err != nil {
		return nil, err
	}
	return &directory{d}, nil
}

// removeRemains removes the temporary files of a process that was killed, except in a dry run and on a read-only mount.
func (c Config) removeRemains(ctx context.Context, d *directory) error {
	if c.DryRun || !d.HasRemains() {
		return nil
	}
	if err := d.lock(ctx); !errors.Is(err, unix.EROFS) {
		return err
	}
	return nil
}

// lock locks the directory, and completes a change of drop-ins by a process that was killed.
func (d *directory) lock(ctx context.Context) error {
	network, err := d.Lock(ctx, atomicdir.LockTimeout)
	if err == nil && network != "" {
		err = d.tidyDropIns(network)
	}
	return err
}
