// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestErrorsHaveTheErrnoAndARemedy(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		kind  error // nil: callers do not distinguish it
		errno unix.Errno
		text  string
	}{
		{"look up, ENOENT", lookupError(unix.ENOENT), ErrGone, unix.ENOENT, "gone (ENOENT)"},
		{"look up, EOPNOTSUPP", lookupError(unix.EOPNOTSUPP), nil, unix.EOPNOTSUPP, "look up socket"},
		{"destroy, ENOENT", destroyError(unix.ENOENT), ErrGone, unix.ENOENT, "gone (ENOENT)"},
		{"destroy, EOPNOTSUPP", destroyError(unix.EOPNOTSUPP), ErrUnsupported, unix.EOPNOTSUPP, "CONFIG_INET_DIAG_DESTROY"},
		{"destroy, EPERM", destroyError(unix.EPERM), ErrDenied, unix.EPERM, "CAP_NET_ADMIN"},
		{"destroy, EACCES", destroyError(unix.EACCES), ErrDenied, unix.EACCES, "CAP_NET_ADMIN"},
		{"destroy, EINVAL", destroyError(unix.EINVAL), nil, unix.EINVAL, "destroy socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, kind := range []error{ErrGone, ErrUnsupported, ErrDenied} {
				if got, want := errors.Is(tt.err, kind), errors.Is(tt.kind, kind); got != want {
					t.Errorf("%v: is it %v? %v, want %v", tt.err, kind, got, want)
				}
			}
			if !errors.Is(tt.err, tt.errno) || !strings.Contains(tt.err.Error(), tt.text) {
				t.Errorf("got %v, want errno %v and %q", tt.err, tt.errno, tt.text)
			}
		})
	}
	if err := errors.Join(lookupError(0), destroyError(0)); err != nil {
		t.Errorf("success is %v", err)
	}
}

func TestErrorOfAnOldKernelNamesTheVersionWithNetnsCookies(t *testing.T) {
	c := &Conn{t: &script{}}
	if _, err := c.NetnsCookie(); !errors.Is(err, unix.ENOPROTOOPT) || !strings.Contains(err.Error(), "Linux 5.14") {
		t.Errorf("got %v, want %v and the version", err, unix.ENOPROTOOPT)
	}
}
