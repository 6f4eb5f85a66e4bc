// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Confine replaces itself by a program under a seccomp profile of deploy/seccomp and with the capabilities of its container,
// as a container runtime starts it: confine PROFILE PROGRAM [ARGUMENT...]. A system call that the profile refuses does not
// return an error, as in a container, but ends the program, so that no test can miss it.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	seccompbpf "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "confine:", err)
		os.Exit(125)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("want PROFILE PROGRAM [ARGUMENT...]")
	}
	action := seccompbpf.ActionTrap // Go programs print their stacks
	if os.Getenv("CONFINE_LOG") != "" {
		action = seccompbpf.ActionLog
	}
	runtime.LockOSThread() // the bounding set belongs to the thread
	if err := dropCapabilities(args[0]); err != nil {
		return err
	}
	policy, err := load(args[0], action)
	if err != nil {
		return err
	}
	if err := seccompbpf.LoadFilter(seccompbpf.Filter{NoNewPrivs: true, Flag: seccompbpf.FilterFlagTSync, Policy: policy}); err != nil {
		return err
	}
	return unix.Exec(args[1], args[1:], os.Environ())
}
