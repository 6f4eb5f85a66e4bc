// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command peer is an end of TCP connections in a container: one that leaks, or one that behaves well.
//
//	peer ROLE [-- ROLE]...
//
// plays all roles at once, logs to stdout, and exits on SIGTERM. The roles:
//
//	pause               does nothing
//	serve ADDRESS WAY   accepts connections, and handles each in one way:
//	    close             closes it at once
//	    hold              reads to the end of file, and never closes
//	    trickle           sends a byte every 100 ms until that fails
//	    echo              sends back the bytes that it reads, and closes at the end of file
//	connect ADDRESS WAY retries until it is connected, and continues in one way:
//	    leak              reads to the end of file, and never closes
//	    close             reads to the end of file, and closes
//	    shut              sends a line, shuts its direction, reads to the end of file, and closes
//	    talk              sends a line every 100 ms, and reads the answers, forever
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(2)
	}
	// The first process of a container reaps orphans.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

// run starts the roles.
func run(args []string) error {
	for len(args) > 0 {
		role := args
		if i := slices.Index(args, "--"); i >= 0 {
			role, args = args[:i], args[i+1:]
		} else {
			args = nil
		}
		if err := start(role); err != nil {
			return err
		}
	}
	return nil
}

func start(role []string) error {
	switch {
	case len(role) == 1 && role[0] == "pause":
		return nil
	case len(role) != 3:
	case role[0] == "serve":
		if treat := servers()[role[2]]; treat != nil {
			return serve(role[1], treat)
		}
	case role[0] == "connect":
		if treat := clients()[role[2]]; treat != nil {
			go connect(role[1], treat)
			return nil
		}
	}
	return errors.New("usage: peer pause|serve ADDRESS close|hold|trickle|echo|connect ADDRESS leak|close|shut|talk [-- ...]")
}

// logf writes one line to stdout.
func logf(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
}
