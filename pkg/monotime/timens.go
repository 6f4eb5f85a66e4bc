// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package monotime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// initialTimeNamespace is the target of the initial time namespace's link, on every kernel with time namespaces
// (PROC_TIME_INIT_INO).
const initialTimeNamespace = "time:[4026531834]"

// namespaceOffset returns how far CLOCK_MONOTONIC of a process's time namespace is ahead of the initial one's.
// process is the process's directory in /proc.
func namespaceOffset(process string) (time.Duration, error) {
	own, err := os.Readlink(filepath.Join(process, "ns/time"))
	switch {
	case errors.Is(err, fs.ErrNotExist) && exists(process):
		return 0, nil // a kernel before 5.6 or without CONFIG_TIME_NS: no time namespaces
	case err != nil:
		return 0, refuse(err)
	case own == initialTimeNamespace:
		return 0, nil
	}
	// The file has the offsets of the namespace that children are created in.
	children, err := os.Readlink(filepath.Join(process, "ns/time_for_children"))
	if err != nil {
		return 0, refuse(err)
	}
	if children != own {
		return 0, refuse(fmt.Errorf("the process is in %s, and the kernel shows the offsets of %s alone", own, children))
	}
	path := filepath.Join(process, "timens_offsets")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, refuse(err)
	}
	offset, err := parseOffsets(string(text))
	if err != nil {
		return 0, refuse(fmt.Errorf("%s: %w", path, err))
	}
	return offset, nil
}

// exists reports whether a file exists. Without /proc, the missing link proves nothing.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func refuse(err error) error {
	return fmt.Errorf("find the offset of this time namespace: %w: run halfclose in the initial time namespace, with /proc mounted for its PID namespace", err)
}

// parseOffsets returns the monotonic offset of /proc/PID/timens_offsets: lines of a clock, seconds and
// nanoseconds. Negative offsets have negative seconds and nanoseconds that count forward from these.
func parseOffsets(text string) (time.Duration, error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "monotonic" && f[0] != "1" { // unix.CLOCK_MONOTONIC
			continue
		}
		sec, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return 0, err
		}
		nsec, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return 0, err
		}
		const maxSeconds = int64(1<<63-1)/int64(time.Second) - 1
		if sec < -maxSeconds || sec > maxSeconds || nsec < 0 || nsec >= int64(time.Second) {
			return 0, fmt.Errorf("invalid offset of %d s and %d ns", sec, nsec)
		}
		return time.Duration(sec)*time.Second + time.Duration(nsec), nil
	}
	return 0, errors.New("no line for the clock monotonic")
}
