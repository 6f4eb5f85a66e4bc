// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstFD is the first file descriptor after stdin, stdout and stderr.
const firstFD = 3

// Environ returns the variables that a reaper started by the plugin keeps: PATH, language and time zone, the settings of
// the Go runtime, and HALFCLOSE_*. It drops CNI's variables, and those of systemd for one particular process (NOTIFY_SOCKET,
// LISTEN_FDS, JOURNAL_STREAM, INVOCATION_ID).
func Environ(env []string) []string {
	keep := []string{"PATH", "LANG", "TZ", "GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK"}
	kept := []string{} // not nil, which means the whole environment to os.StartProcess
	for _, kv := range env {
		key, _, ok := strings.Cut(kv, "=")
		if ok && (slices.Contains(keep, key) || strings.HasPrefix(key, "HALFCLOSE_") || strings.HasPrefix(key, "LC_")) {
			kept = append(kept, kv)
		}
	}
	return kept
}

// closeOnExec marks every descriptor from firstFD up. The Go runtime marks only the descriptors that it opens.
func closeOnExec() error {
	if unix.CloseRange(firstFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	// Linux before 5.11 does not support the flag, and an old seccomp profile may refuse the call.
	return closeOnExecByProc()
}

// closeOnExecByProc is closeOnExec without close_range(2).
func closeOnExecByProc() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open files: %w", err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < firstFD {
			continue
		}
		// EBADF: the descriptor of the listing itself.
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
		if err != nil && !errors.Is(err, unix.EBADF) {
			return fmt.Errorf("mark descriptor %d close-on-exec: %w", fd, err)
		}
	}
	return nil
}
