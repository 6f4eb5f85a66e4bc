// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"io/fs"
	"slices"
)

// sources is the working tree without build results and git's directory.
type sources struct{ fs.ReadLinkFS }

// ReadDir hides the entries that are not copied.
func (s sources) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.ReadLinkFS, name)
	if name == "." {
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
			return slices.Contains([]string{"bin", "dist", ".git", ".ci"}, e.Name())
		})
	}
	return entries, err
}
