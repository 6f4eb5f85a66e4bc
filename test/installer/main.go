// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Installer is a process that installs or uninstalls as its argument says, for the tests of pkg/install: they stop it
// before each of its system calls. It is a program of its own since a test binary with the race detector takes ten times
// as long to start, and the tests start it a thousand times.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/install"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: installer JOB")
	}
	var job struct { // as pkg/install's test has it
		Uninstall bool
		Config    install.Config
		Object    string // of Config.Entry
	}
	if err := json.Unmarshal([]byte(args[0]), &job); err != nil {
		return err
	}
	entry, problems := install.NewEntry([]byte(job.Object))
	if len(problems) > 0 {
		return problems
	}
	job.Config.Entry = entry
	// The tracer follows the thread that sends this signal, from here on, and no other.
	runtime.LockOSThread()
	if err := unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGUSR1); err != nil {
		return err
	}
	if job.Uninstall {
		_, err := install.Uninstall(context.Background(), job.Config, false)
		return err
	}
	_, err := install.Install(context.Background(), job.Config)
	return err
}
