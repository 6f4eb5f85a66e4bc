// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Root is where paths are resolved: the process's own root directory, or the one that a container sees the
// host's file system under. Its methods may be called concurrently.
type Root struct{ root *hostfs.Root }

// NewRoot returns the root dir, or the process's own for "" and "/".
//
// Below another dir, paths resolve as chroot(2) in it would make them (see hostfs.Root). Paths under /proc are the
// exception: they are always looked up in the process's own /proc.
func NewRoot(dir string) (*Root, error) {
	root, err := hostfs.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Root{root}, nil
}

// Open opens the network namespace that an absolute path leads to below the root, as the function Open does.
func (r *Root) Open(path string) (*Handle, error) {
	if r.root.Dir() == "" {
		return Open(path)
	}
	if clean := filepath.Clean(path); strings.HasPrefix(clean+"/", "/proc/") {
		return Open(clean)
	}
	h, err := open(path, r.root.OpenPath)
	if err != nil {
		return nil, fmt.Errorf("below host root %s: %w", r.root.Dir(), err)
	}
	return h, nil
}

// SeesDirOf reports whether the directory is there that a path below the root is in. Where it is not, that nothing is
// at the path says little: in a container the directory may just not be mounted. Of /proc, the process's own is meant,
// and what is not there has ended.
func (r *Root) SeesDirOf(path string) bool {
	dir := filepath.Dir(filepath.Clean(path))
	return strings.HasPrefix(dir+"/", "/proc/") || r.root.Has(dir)
}

// Close closes the root directory. It may be called again; below a root other than the process's own, nothing can be
// opened afterwards.
func (r *Root) Close() error { return r.root.Close() }
