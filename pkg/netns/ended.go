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

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// ErrUnproven means that this process cannot find out whether a network namespace still exists.
var ErrUnproven = errors.New("cannot find out whether the network namespace still exists")

// Ended reports whether a network namespace of this boot does not exist any more. Any error is ErrUnproven.
//
// If Alive returns an error, a namespace without a process counts as ended: the caller checks the paths that may lead to it.
func (l *Liveness) Ended(id Identity) (bool, error) {
	alive, err := l.Alive(id)
	if err == nil {
		return !alive, nil
	}
	return endedByProcesses(id, "/proc")
}

// endedByProcesses reports whether no process is in a namespace. It needs the initial PID namespace, which shows all
// processes.
func endedByProcesses(id Identity, proc string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(proc, "self/ns/pid"), &st); err != nil || st.Ino != hostfs.InitialPIDNS {
		return false, fmt.Errorf("%w: processes outside of this PID namespace are not visible", ErrUnproven)
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
