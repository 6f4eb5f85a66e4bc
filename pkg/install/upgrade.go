// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/launch"
)

// ErrNotInstalled is the error of an upgrade without an installation.
var ErrNotInstalled = errors.New("no halfclose is installed there")

// Upgrade replaces the installed programs by those of c: the reaper's if one is installed, as a link or as a copy like
// the existing one, and then the plugin. It changes no network, so an entry keeps all of its values.
func Upgrade(ctx context.Context, c Config) (Programs, error) {
	d, err := c.openDirectory(c.BinDir)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotInstalled
	}
	if err != nil {
		return Programs{}, fmt.Errorf("upgrade %s/%s: %w", c.BinDir, spec.PluginType, err)
	}
	defer d.Close()
	if _, err := d.Lstat(spec.PluginType); errors.Is(err, fs.ErrNotExist) {
		return Programs{}, fmt.Errorf("upgrade %s/%s: %w: run halfclose install", c.BinDir, spec.PluginType, ErrNotInstalled)
	}
	c.Entry = Entry{}
	if reaper, err := d.Lstat(launch.ReaperName); err == nil {
		c.Entry, _ = NewEntry([]byte(`{}`)) // with the default, an installed reaper's program
		c.Copy = c.Copy || reaper.Mode&unix.S_IFMT == unix.S_IFREG
	}
	return c.putPrograms(ctx, false)
}
