// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"io/fs"
	"slices"
)

// sources are the files of the repository without what was built and what git keeps.
type sources struct{ fs.ReadLinkFS }

// ReadDir leaves out what is not copied.
func (s sources) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.ReadLinkFS, name)
	if name == "." {
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
			return slices.Contains([]string{"bin", "dist", ".git", ".ci"}, e.Name())
		})
	}
	return entries, err
}
