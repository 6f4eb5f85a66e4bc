// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func readNumber(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// allSockets is how many TCP sockets there are in all namespaces. Of what /proc/net/sockstat tells, "alloc" is
// of the whole machine (sockstat_seq_show of net/ipv4/proc.c).
func allSockets() int {
	text, err := os.ReadFile("/proc/thread-self/net/sockstat")
	if err != nil {
		return 0
	}
	return parseAlloc(string(text))
}

func parseAlloc(text string) int {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "TCP: ")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		for i := 0; i+1 < len(fields); i += 2 {
			if fields[i] == "alloc" {
				n, _ := strconv.Atoi(fields[i+1]) // 0 is as good as not known
				return n
			}
		}
	}
	return 0
}

// enough bounds how long walks are measured.
const enough = 300 * time.Millisecond

// walkCost is the least CPU time that a dump of the half-closed sockets of the calling thread's namespace
// takes, of a few.
func walkCost() (time.Duration, error) {
	conn, err := inetdiag.Open()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var best, total time.Duration
	for range 5 {
		before := threadCPU()
		err := conn.Dump(inetdiag.Filter{States: inetdiag.HalfClosed, Info: true}, func(*inetdiag.Socket) error { return nil })
		if err != nil {
			return 0, err
		}
		took := threadCPU() - before
		if total += took; best == 0 || took < best {
			best = took
		}
		if total > enough {
			break
		}
	}
	return best, nil
}

// threadCPU is the CPU time that the calling thread has used.
func threadCPU() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // cannot fail: the clock exists and &ts is valid
	return time.Duration(ts.Nano())
}
