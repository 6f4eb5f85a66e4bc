// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"io/fs"
)

// ErrMismatch means that a path leads to another network namespace than the recorded one.
var ErrMismatch = errors.New("path leads to another network namespace than the recorded one")

// IsGone reports whether err means that the recorded namespace is not at its path any more: the path leads nowhere or to
// another namespace. Any other error, such as EPERM, proves nothing.
func IsGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrMismatch)
}
