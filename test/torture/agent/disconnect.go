// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// disconnect dissolves a socket's association. Package unix has no address of the family AF_UNSPEC.
func disconnect(fd int) error {
	address := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&address)), unsafe.Sizeof(address))
	if errno != 0 {
		return errno
	}
	return nil
}
