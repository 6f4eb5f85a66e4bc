// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestWithoutCloseRangeEachDescriptorIsMarked(t *testing.T) {
	fd, err := unix.Dup(2)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := closeOnExecByProc(); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	if flags, err := unix.FcntlInt(2, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		t.Errorf("stderr has flags %#x, %v", flags, err)
	}
}
