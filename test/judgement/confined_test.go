// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// The limits that a process may be executed under.
const (
	noSetns   = "no-setns"
	noAdmin   = "no-cap-sys-admin"
	noNetlink = "no-af-netlink"
	noGetfd   = "no-pidfd-getfd"
)

// confined executes a program under a limit, in the place of this process.
func confined(limit string, command []string) error {
	runtime.LockOSThread() // the bounding set is the thread's
	var err error
	switch limit {
	case noSetns:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_SETNS, Errno: unix.EPERM})
	case noAdmin:
		err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0)
	case noNetlink:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_SOCKET, Errno: unix.EAFNOSUPPORT, Arg: unix.AF_NETLINK})
	case noGetfd:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_PIDFD_GETFD, Errno: unix.EPERM})
	default:
		err = fmt.Errorf("there is no limit %q", limit)
	}
	if err != nil {
		return err
	}
	return unix.Exec(command[0], command, os.Environ())
}
