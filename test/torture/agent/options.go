// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"

	"golang.org/x/sys/unix"
)

// each calls fn with each option that a question changes.
func (o *Options) each(fn func(level, name int, value *int) error) error {
	return errors.Join(
		fn(unix.SOL_SOCKET, unix.SO_KEEPALIVE, &o.Keepalive),
		fn(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, &o.Idle),
		fn(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, &o.Interval),
		fn(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, &o.Count),
		fn(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, &o.UserTimeout),
	)
}

// setOptions sets the options that are not 0.
func setOptions(fd int, o *Options) error {
	if o == nil {
		return nil
	}
	return o.each(func(level, name int, value *int) error {
		if *value == 0 {
			return nil
		}
		return unix.SetsockoptInt(fd, level, name, *value)
	})
}

func readOptions(fd int) (*Options, error) {
	o := new(Options)
	return o, o.each(func(level, name int, value *int) (err error) {
		*value, err = unix.GetsockoptInt(fd, level, name)
		return err
	})
}
