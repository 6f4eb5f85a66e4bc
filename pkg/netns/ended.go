// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrUnproven means that it cannot be found out whether a network namespace has ended.
var ErrUnproven = errors.New("cannot find out whether the network namespace has ended")

// Ended reports whether a network namespace of this boot has ended: not only its path, but the namespace. It is false with
// ErrUnproven where that cannot be found out.
//
// Where Alive cannot answer, a namespace counts as ended if no process is in it; the caller knows of the paths that may lead
// to it.
func (l *Liveness) Ended(id Identity) (bool, error) {
	alive, err := l.Alive(id)
	if err == nil {
		return !alive, nil
	}
	return endedByProcesses(id, "/proc")
}

// firstPIDNamespace is the inode number of the initial pid namespace (PROC_PID_INIT_INO of <linux/proc_ns.h>), in which
// every process of the machine is seen.
const firstPIDNamespace = 0xEFFFFFFC

// endedByProcesses looks for a process in a namespace.
func endedByProcesses(id Identity, proc string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(proc, "self/ns/pid"), &st); err != nil || st.Ino != firstPIDNamespace {
		return false, fmt.Errorf("%w: not all processes are seen from here", ErrUnproven)
	}
	dir, err := os.Open(proc)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	var hidden error
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		err := unix.Stat(filepath.Join(proc, name, "ns/net"), &st)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH): // the process has exited
		case err != nil:
			hidden = fmt.Errorf("%w: process %s: %w (needs CAP_SYS_PTRACE)", ErrUnproven, name, err)
		case st.Ino == id.Inode:
			return false, nil
		}
	}
	return hidden == nil, hidden
}
