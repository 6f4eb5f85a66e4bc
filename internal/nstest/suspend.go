// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Suspend sends SIGSTOP to a process and waits until each of its threads has stopped: until then a thread may still
// answer, although kill(2) has returned. resume sends SIGCONT.
func Suspend(tb testing.TB, pid int) (resume func()) {
	tb.Helper()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		tb.Fatalf("suspend process %d: %v", pid, err)
	}
	Eventually(tb, 30*time.Second, "each thread of process "+strconv.Itoa(pid)+" has stopped", func() bool {
		stats, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/stat")
		if err != nil {
			tb.Fatal(err)
		}
		for _, path := range stats {
			// proc_pid_stat(5): the state follows the name, which is in parentheses.
			stat, err := os.ReadFile(path)
			if _, after, ok := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(") ")); err == nil && ok && after[0] != 'T' {
				return false
			}
		}
		return len(stats) > 0
	})
	return func() {
		tb.Helper()
		if err := unix.Kill(pid, unix.SIGCONT); err != nil {
			tb.Fatalf("resume process %d: %v", pid, err)
		}
	}
}
