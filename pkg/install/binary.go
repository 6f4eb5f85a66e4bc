// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// runnable reports whether a file is there and may be executed.
func (d *directory) runnable(name string) bool {
	var stat unix.Stat_t
	return unix.Fstatat(d.fd(), name, &stat, 0) == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG && stat.Mode&0o111 == 0o111
}

// programMode is the mode of the programs that are installed.
const programMode = 0o755

// isLike reports whether a file is a regular one with the owner and the mode of another, and no link to one.
func (d *directory) isLike(name string, like unix.Stat_t) bool {
	var stat unix.Stat_t
	return unix.Fstatat(d.fd(), name, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil && stat.Mode == unix.S_IFREG|like.Mode && stat.Uid == like.Uid
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
