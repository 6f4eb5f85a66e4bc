// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package inject

import (
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Changes reports whether the call may change files: it is among [FileCalls], and creates, writes, renames or removes one, or
// changes its attributes.
func (c *Call) Changes() bool {
	switch c.Number {
	case unix.SYS_OPENAT:
		return c.Args[2]&(unix.O_CREAT|unix.O_TRUNC) != 0
	case unix.SYS_OPENAT2:
		how, err := c.Data(2, 8) // struct open_how begins with the flags
		return err != nil || how[0]&unix.O_CREAT != 0 || how[1]&(unix.O_TRUNC>>8) != 0
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT,
		unix.SYS_UTIMENSAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT,
		unix.SYS_MKNODAT:
		return true
	}
	return false
}

// KillBeforeEach starts a command that changes files below dir, and kills it before its first change: a kill before any
// other call has the same effect as one before the next change. It starts the command again and kills it before its second
// change, and so on, until the command exits before it is killed. prepare returns the command and its dir each time.
// check, which gets the change, runs after each kill.
func KillBeforeEach(tb testing.TB, prepare func() (cmd *exec.Cmd, dir string), check func(before string)) {
	tb.Helper()
	for skip := 0; ; skip++ {
		cmd, dir := prepare()
		var output strings.Builder
		if cmd.Stdout == nil {
			cmd.Stdout, cmd.Stderr = &output, &output
		}
		s, err := Start(cmd, FileCalls())
		if err != nil {
			tb.Fatal(err)
		}
		i := s.Inject(Fault{
			Calls: FileCalls(), Skip: skip, Effect: Kill(), Where: func(c *Call) bool { return c.Changes() && c.Below(dir) },
		})
		exit := cmd.Wait()
		<-s.Done()
		switch killed := i.Calls(); {
		case s.Err() != nil:
			tb.Fatal(s.Err())
		case len(killed) > 0:
			check(strings.ReplaceAll(killed[0], dir, ""))
		case exit != nil:
			tb.Fatalf("%v\n%s", exit, output.String())
		case skip == 0:
			tb.Fatal("the command changes no file below the directory")
		default:
			return
		}
	}
}
