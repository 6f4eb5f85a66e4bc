// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// holder is a process that carries out orders.
type holder struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	enc   *json.Encoder
	dec   *json.Decoder
}

// perHolder returns the number of namespaces of a holder, with up to most sockets in each: half of its descriptor limit and at
// most 10,000 sockets, so that several processes share the work on any machine.
func perHolder(most int) (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	n := int(min(limit.Cur, 20_000)) / 2 / most
	if n == 0 {
		return 0, fmt.Errorf("%d open files are too few: raise the limit (ulimit -n) to %d or more", limit.Cur, 2*most)
	}
	return n, nil
}

func startHolder() (*holder, error) {
	cmd := exec.Command("/proc/self/exe", holdCommand)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C goes to the first process alone
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a process that holds sockets: %w", err)
	}
	return &holder{cmd: cmd, stdin: stdin, enc: json.NewEncoder(stdin), dec: json.NewDecoder(stdout)}, nil
}

func (h *holder) order(o order) (a answer, err error) {
	if err := h.enc.Encode(o); err != nil {
		return a, fmt.Errorf("order sockets: %w", err)
	}
	if err := h.dec.Decode(&a); err != nil {
		return a, fmt.Errorf("order sockets: the process that holds them: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}
