// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Retry repeats a system call after EINTR.
func Retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

// RetryErr is Retry for a system call that returns only an error.
func RetryErr(call func() error) error {
	_, err := Retry(func() (struct{}, error) { return struct{}{}, call() })
	return err
}
