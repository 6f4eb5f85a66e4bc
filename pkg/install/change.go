// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/halfclose/halfclose/internal/atomicdir"
	"github.com/halfclose/halfclose/pkg/cniconf"
)

// change is one step towards the planned configuration. After each step runtimes can load the directory.
type change struct {
	diff  string
	apply func() error
}

// apply applies changes in order and returns how many. It stops without an error if another process has changed a file
// since: that requires a new plan.
func apply(changes []change) (applied int, err error) {
	for _, c := range changes {
		err := c.apply()
		if errors.Is(err, atomicdir.ErrChanged) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			return applied, nil
		}
		if err != nil {
			return applied, err
		}
		applied++
	}
	return applied, nil
}

func diffs(changes []change) string {
	var b strings.Builder
	for _, c := range changes {
		b.WriteString(c.diff)
	}
	return b.String()
}

// planEdit plans to replace a file by the result of edit. There is no change if edit returns the same data.
func (d *directory) planEdit(f file, edit func([]byte) ([]byte, error)) ([]change, error) {
	edited, err := edit(f.Data)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	case bytes.Equal(f.Data, edited):
		return nil, nil
	case f.Link:
		return nil, fmt.Errorf("%s is a symbolic link, and replacing it would break the tool that manages it: make it a regular file, or use --drop-in", f.Name)
	}
	if err := checkSize(f.Name, edited); err != nil {
		return nil, err
	}
	path := filepath.Join(d.Path(), f.Name)
	return []change{{
		diff: unified(path, path, f.Data, edited),
		apply: func() error {
			return d.Update(f.Name, func(data []byte) ([]byte, error) {
				edited, err := edit(data)
				if err != nil {
					return nil, atomicdir.ErrChanged // the edit succeeded when it was planned
				}
				return edited, nil
			})
		},
	}}, nil
}

// checkSize returns an error for data that would be too large to be read again.
func checkSize(name string, data []byte) error {
	if len(data) > cniconf.MaxFileSize {
		return fmt.Errorf("%s would have %d bytes, and halfclose reads at most %d: make it smaller", name, len(data), cniconf.MaxFileSize)
	}
	return nil
}

// planMove plans to rename a file, or to remove it if the new name is "".
func (d *directory) planMove(f file, to string) change {
	target := "/dev/null"
	if to != "" {
		target = filepath.Join(d.Path(), to)
	}
	return change{
		diff:  unified(filepath.Join(d.Path(), f.Name), target, f.Data, nil),
		apply: func() error { return d.Move(f.Name, f.Data, to) },
	}
}

// unified returns the difference between two texts in the format of diff -u, "" if there is none.
func unified(oldName, newName string, oldText, newText []byte) string {
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: lines(oldText), FromFile: oldName, B: lines(newText), ToFile: newName, Context: 3,
	})
	if err != nil { // a strings.Builder does not fail
		return ""
	}
	return text
}

func lines(text []byte) []string {
	all := slices.Collect(strings.Lines(string(text)))
	if n := len(all); n > 0 && !strings.HasSuffix(all[n-1], "\n") {
		all[n-1] += "\n\\ No newline at end of file\n"
	}
	return all
}
