// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"io/fs"
)

// ErrMismatch means that a path leads to another network namespace than the recorded one: the recorded one
// is not at that path any more.
var ErrMismatch = errors.New("path leads to another network namespace than the recorded one")

// IsGone reports whether err means that the recorded namespace is not at its path any more: nothing is there,
// or another namespace. Any other error, such as EPERM, proves nothing about the namespace.
func IsGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrMismatch)
}
