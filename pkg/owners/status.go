// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// status has fields of a thread's /proc/PID/status.
type status struct {
	state           byte // the letter of State
	threads         int  // of its process
	ignored, caught uint64
	init            bool // the first process of a PID namespace
}

// parseStatus parses /proc/PID/status. The kernel escapes newlines in the process's own name.
func parseStatus(text []byte) (s status, err error) {
	var errs []error
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(key) {
		case "State":
			if len(value) > 0 {
				s.state = value[0]
			}
		case "Threads":
			s.threads, err = strconv.Atoi(string(value))
		case "SigIgn":
			s.ignored, err = strconv.ParseUint(string(value), 16, 64)
		case "SigCgt":
			s.caught, err = strconv.ParseUint(string(value), 16, 64)
		case "NSpid":
			numbers := bytes.Fields(value)
			s.init = len(numbers) > 0 && string(numbers[len(numbers)-1]) == "1"
		}
		errs = append(errs, err)
	}
	if err = errors.Join(errs...); err == nil && s.state == 0 {
		err = errors.New("no state")
	}
	if err != nil {
		return s, fmt.Errorf("parse status: %w", err)
	}
	return s, nil
}

func (s status) stopped() bool { return s.state == 'T' || s.state == 't' }

func (s status) exited() bool { return s.state == 'Z' || s.state == 'X' }

// sigpipe returns the effect of SIGPIPE. The first process of a PID namespace, as a container's main process often is, does
// not receive signals of default disposition.
func (s status) sigpipe() Sigpipe {
	const bit = 1 << (unix.SIGPIPE - 1)
	if s.init || (s.ignored|s.caught)&bit != 0 {
		return SigpipeIgnored
	}
	return SigpipeKills
}
