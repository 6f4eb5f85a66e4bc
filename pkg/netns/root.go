// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// Root is the root directory below which paths resolve: the process's own, or the directory at which a container has the
// host's file system mounted. Its methods may be called concurrently.
type Root struct{ root *hostfs.Root }

// NewRoot opens the root directory dir, or the process's own for "" and "/".
//
// Below another dir, paths resolve as after chroot(2) (see hostfs.Root), except for paths under /proc: these always resolve
// in the process's own /proc.
func NewRoot(dir string) (*Root, error) {
	root, err := hostfs.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Root{root}, nil
}

// Open is the function Open for a path below the root.
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

// SeesDirOf reports whether the directory of a path below the root exists here. If it does not, a missing file at the path
// proves nothing, because a container may not have the directory mounted. It is true for paths under /proc, which always
// resolve in the process's own /proc.
func (r *Root) SeesDirOf(path string) bool {
	dir := filepath.Dir(filepath.Clean(path))
	return strings.HasPrefix(dir+"/", "/proc/") || r.root.Has(dir)
}

// Close closes the root directory. Closing again does nothing. Afterwards Open fails below a root other than the process's
// own.
func (r *Root) Close() error { return r.root.Close() }
