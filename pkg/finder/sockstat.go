// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// hasTCP reports whether the calling thread's network namespace has any TCP socket except for mini-sockets. It costs a
// two-hundredth of a dump. If it cannot read the counts, it returns true.
func hasTCP() bool {
	return inUse("/proc/thread-self/net/sockstat", "TCP: ") || inUse("/proc/thread-self/net/sockstat6", "TCP6: ")
}

func inUse(file, line string) bool {
	var buf [1024]byte // the files have a few hundred bytes
	text, err := hostfs.ReadStart(unix.AT_FDCWD, file, buf[:])
	if err != nil {
		// A kernel without IPv6 has no sockstat6.
		return !errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(file, "sockstat")
	}
	n, ok := sockstatInUse(string(text), line)
	return !ok || n != 0
}

// sockstatInUse returns the number after "inuse" in the line of /proc/net/sockstat or sockstat6 that begins
// with prefix.
func sockstatInUse(text, prefix string) (int, bool) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, prefix)
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[0] != "inuse" {
			return 0, false
		}
		n, err := strconv.Atoi(fields[1])
		return n, err == nil
	}
	return 0, false
}
