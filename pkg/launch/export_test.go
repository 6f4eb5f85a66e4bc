// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"os"

	"golang.org/x/sys/unix"
)

// Unchecked opens a program of any owner in any directory, such as the test binary.
func Unchecked(path string) (*Program, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &Program{path: path, fd: fd}, nil
}

// UncheckedSelf opens the running program.
func UncheckedSelf() (*Program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return Unchecked(self)
}
