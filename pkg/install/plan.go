// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/halfclose/halfclose/pkg/cniconf"
)

// change is one step towards the configuration as it should be. Each leaves a directory that runtimes can load.
type change struct {
	diff  string
	apply func(context.Context) error
}

// apply takes the steps one after the other, and returns how many it took. It is no error if one cannot be taken
// because somebody else has changed something: then there is another plan to be made.
func apply(ctx context.Context, changes []change) (taken int, err error) {
	for _, c := range changes {
		err := c.apply(ctx)
		if errors.Is(err, errChanged) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			return taken, nil
		}
		if err != nil {
			return taken, err
		}
		taken++
	}
	return taken, nil
}

// errChanged says that a file is not as it was when a change of it was planned.
var errChanged = errors.New("it has changed meanwhile")

func diffs(changes []change) string {
	var b strings.Builder
	for _, c := range changes {
		b.WriteString(c.diff)
	}
	return b.String()
}

// planEdit plans what edit makes of a file, if that is something else.
func (d *directory) planEdit(f file, edit func([]byte) ([]byte, error)) ([]change, error) {
	now, err := edit(f.Data)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	case bytes.Equal(f.Data, now):
		return nil, nil
	case f.Link:
		return nil, fmt.Errorf("%s is a symbolic link, whose owner would lose it: make it a regular file, or use --drop-in", f.Name)
	}
	if err := checkSize(f.Name, now); err != nil {
		return nil, err
	}
	path := filepath.Join(d.path, f.Name)
	return []change{{
		diff: unified(path, path, string(f.Data), string(now)),
		apply: func(ctx context.Context) error {
			return d.update(ctx, f.Name, func(data []byte) ([]byte, error) {
				now, err := edit(data)
				if err != nil {
					return nil, errChanged // it could be edited before
				}
				return now, nil
			})
		},
	}}, nil
}

// checkSize says why a file must not be written: it would be too large to be read again.
func checkSize(name string, data []byte) error {
	if len(data) > cniconf.MaxFileSize {
		return fmt.Errorf("%s would have %d bytes, more than the %d that halfclose reads: make it smaller", name, len(data), cniconf.MaxFileSize)
	}
	return nil
}

// planMake plans a file that is not there yet, with the mode and the owner of another.
func (d *directory) planMake(name string, data []byte, like file) change {
	return change{
		diff:  unified("/dev/null", filepath.Join(d.path, name), "", string(data)),
		apply: func(context.Context) error { return d.make(name, data, like.Stat) },
	}
}

// planAside plans that a file gets another name, or goes where that is empty.
func (d *directory) planAside(f file, to string) change {
	target := "/dev/null"
	if to != "" {
		target = filepath.Join(d.path, to)
	}
	return change{
		diff: unified(filepath.Join(d.path, f.Name), target, string(f.Data), ""),
		apply: func(ctx context.Context) error {
			done, err := d.aside(ctx, f.Name, f.Data, to)
			if err == nil && !done {
				return errChanged
			}
			return err
		},
	}
}
