// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
)

func TestTryEnter(t *testing.T) {
	if err := netns.TryEnter(); errors.Is(err, unix.EPERM) {
		nstest.NeedPrivilege(t, "enter a network namespace", err)
	} else if err != nil {
		t.Error(err)
	}
}

func TestARefusedEntryNamesTheMissingPrivilege(t *testing.T) {
	for _, tc := range []struct {
		err  netns.EnterError
		want string
	}{
		{netns.EnterError{Err: unix.EPERM}, "needs CAP_SYS_ADMIN"},
		{netns.EnterError{Err: unix.EPERM, Held: true}, "seccomp"},
		{netns.EnterError{Err: unix.ENOMEM, Held: true}, "cannot allocate memory"},
	} {
		if text := tc.err.Error(); !strings.Contains(text, tc.want) || !errors.Is(&tc.err, tc.err.Err) {
			t.Errorf("%q lacks %q", text, tc.want)
		}
	}
}
