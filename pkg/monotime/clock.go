// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package monotime

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// Clock is the time that a component works by. Timers are package time's: in a testing/synctest bubble those
// are fake, and Test follows them.
type Clock interface {
	// Now returns CLOCK_MONOTONIC of the initial time namespace, which is what the kernel's programs read.
	Now() Time
	Wall() time.Time
}

// offsetsPath names the offsets of the process's time namespace (time_namespaces(7)).
const offsetsPath = "/proc/self/timens_offsets"

// System returns the machine's clock. In a time namespace CLOCK_MONOTONIC is shifted; System reads by how much,
// once.
func System() (Clock, error) {
	b, err := os.ReadFile(offsetsPath)
	if errors.Is(err, fs.ErrNotExist) { // the kernel has no time namespaces (Linux 5.6, CONFIG_TIME_NS)
		return system{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the offset of CLOCK_MONOTONIC: %w: run it in the initial time namespace, with /proc mounted", err)
	}
	shift, err := parseOffset(b)
	if err != nil {
		return nil, fmt.Errorf("read the offset of CLOCK_MONOTONIC: %s: %w", offsetsPath, err)
	}
	return system{shift}, nil
}

// parseOffset returns the offset of CLOCK_MONOTONIC from lines such as "monotonic 3600 0".
func parseOffset(b []byte) (time.Duration, error) {
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 || fields[0] != "monotonic" && fields[0] != strconv.Itoa(1) {
			continue
		}
		seconds, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0, err
		}
		nanoseconds, err := strconv.ParseInt(fields[2], 10, 64)
		return time.Duration(seconds)*time.Second + time.Duration(nanoseconds), err
	}
	return 0, errors.New("no line for monotonic")
}

type system struct{ shift time.Duration }

func (s system) Now() Time     { return Now().Add(-s.shift) }
func (system) Wall() time.Time { return time.Now() }

// Test returns a clock for tests: it starts at start and advances as package time does, so that it is fake in a
// testing/synctest bubble.
func Test(start Time) Clock { return test{start, time.Now()} }

type test struct {
	start Time
	began time.Time
}

func (t test) Now() Time     { return t.start.Add(time.Since(t.began)) }
func (test) Wall() time.Time { return time.Now() }
