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

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Binary is what became of the plugin's binary.
type Binary struct {
	Path    string `json:"path"`
	Changed bool   `json:"changed"` // it was written, or removed, or would be
}

// putBinary puts the running program among the node's plugins, in one step: another process may be executing the
// old one. With keep one that is there is left, whichever it is.
func (c Config) putBinary(ctx context.Context, keep bool) (Binary, error) {
	done := Binary{Path: filepath.Join(c.BinDir, PluginType)}
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
	if keep && d.runnable(PluginType) {
		return done, nil
	}
	program, err := os.ReadFile(c.source())
	if err != nil {
		return done, fmt.Errorf("read the program to install: %w", err)
	}
	if d.runnable(PluginType) && d.holds(PluginType, program) {
		return done, nil
	}
	done.Changed = true
	if c.DryRun {
		return done, nil
	}
	if err := d.lock(ctx, lockPatience); err != nil {
		return done, err
	}
	if err := d.tidy(); err != nil {
		return done, err
	}
	tmp := temporary(PluginType, program)
	if _, err := d.create(tmp, program, mine(0o755)); err != nil {
		return done, err
	}
	if err := d.rename(tmp, PluginType, 0); err != nil {
		return done, errors.Join(err, d.remove(tmp))
	}
	return done, d.sync()
}

// source is the program to install.
func (c Config) source() string {
	if c.Source == "" {
		return "/proc/self/exe" // which it is even after its file was replaced
	}
	return c.Source
}

// runnable reports whether a file is there and may be executed.
func (d *directory) runnable(name string) bool {
	var stat unix.Stat_t
	return unix.Fstatat(d.fd(), name, &stat, 0) == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG && stat.Mode&0o111 == 0o111
}

// holds reports whether a file holds exactly this.
func (d *directory) holds(name string, data []byte) bool {
	f, err := d.open(name, unix.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != int64(len(data)) {
		return false
	}
	is := make([]byte, len(data))
	_, err = f.ReadAt(is, 0)
	return err == nil && bytes.Equal(is, data)
}

// removeBinary removes the binary of the plugin.
func (c Config) removeBinary(ctx context.Context) (Binary, error) {
	done := Binary{Path: filepath.Join(c.BinDir, PluginType)}
	d, err := openDirectory(hostfs.Dir(c.HostRoot), c.BinDir)
	if errors.Is(err, fs.ErrNotExist) {
		return done, nil
	}
	if err != nil {
		return done, err
	}
	defer d.close()
	var stat unix.Stat_t
	if errors.Is(unix.Fstatat(d.fd(), PluginType, &stat, unix.AT_SYMLINK_NOFOLLOW), fs.ErrNotExist) {
		return done, nil
	}
	done.Changed = true
	if c.DryRun {
		return done, nil
	}
	if err := d.lock(ctx, lockPatience); err != nil {
		return done, err
	}
	return done, errors.Join(d.tidy(), d.remove(PluginType), d.sync())
}

// checkPlugins says that the node's runtime looks for plugins elsewhere: where it does, the first plugin of the
// network must be. To list a plugin that the runtime does not find would fail every pod. A link counts wherever it
// leads, which in a container may be out of what is mounted.
func (c Config) checkPlugins(f file) error {
	if c.TrustBinDir || len(f.List.Plugins) == 0 {
		return nil
	}
	first := filepath.Join(c.BinDir, filepath.Base(f.List.Plugins[0].Network.Type))
	bin, err := hostfs.Dir(c.HostRoot).Open(first, unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there, the first plugin of %s: name the directory in which the runtime looks for plugins with --cni-bin-dir", first, f.Name)
	}
	if err != nil {
		return err
	}
	return bin.Close()
}
