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
	"sync"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// ErrUnproven means that this process cannot find out whether a network namespace still exists.
var ErrUnproven = errors.New("cannot find out whether the network namespace still exists")

// Ended reports whether a network namespace of this boot does not exist any more. Any error is ErrUnproven.
//
// If Alive returns an error, a namespace without a process counts as ended: the caller checks the paths that may lead to it.
func (l *Liveness) Ended(id Identity) (bool, error) {
	return l.endedAmong(id, func() (inodes, error) { return readInodes("/proc") })
}

// EndedEach reports for each of the network namespaces whether it is proven to have ended, as Ended does for one, and
// reads the processes once at most.
func (l *Liveness) EndedEach(ids []Identity) []bool {
	read := sync.OnceValues(func() (inodes, error) { return readInodes("/proc") })
	each := make([]bool, len(ids))
	for i, id := range ids {
		ended, err := l.endedAmong(id, read)
		each[i] = ended && err == nil
	}
	return each
}

func (l *Liveness) endedAmong(id Identity, read func() (inodes, error)) (bool, error) {
	alive, err := l.Alive(id)
	if err == nil {
		return !alive, nil
	}
	used, err := read()
	if used[id.Inode] {
		return false, nil
	}
	return err == nil, err
}

// inodes are the inode numbers of the network namespaces of processes.
type inodes map[uint64]bool

// readInodes reads them from proc, which must be of the initial PID namespace: that shows all processes. With an error,
// which is ErrUnproven, the result lacks some.
func readInodes(proc string) (inodes, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(proc, "self/ns/pid"), &st); err != nil || st.Ino != hostfs.InitialPIDNS {
		return nil, fmt.Errorf("%w: processes outside of this PID namespace are not visible", ErrUnproven)
	}
	dir, err := os.Open(proc)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	used := make(inodes)
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
		default:
			used[st.Ino] = true
		}
	}
	return used, hidden
}
