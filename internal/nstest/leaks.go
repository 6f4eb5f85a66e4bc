// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"
)

// Main runs the tests of a package, and returns the exit code. If all pass but they leave a goroutine, a file descriptor
// or a thread in another network namespace, it prints each, and the exit code is 1. TestMain calls it.
// closers close what the tests share.
func Main(m *testing.M, closers ...func() error) int {
	before := resources()
	code := m.Run()
	var err error
	for _, closer := range closers {
		err = errors.Join(err, closer())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "close what the tests share:", err)
		return 1
	}
	if code != 0 {
		return code
	}
	err = Retry(5*time.Second, func() error { // connections and threads take a moment to close and to exit
		return before.leaked(resources())
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "the tests leak:", err)
		return 1
	}
	return 0
}

// held counts the goroutines and descriptors of this process, and the network namespaces that its threads are in, by kind.
type held map[string]int

func resources() held {
	h := make(held)
	for _, stack := range goroutines() {
		h["goroutine: "+stack]++
	}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && !isRuntimes(target) { // else it was closed since
			kind, _, numbered := strings.Cut(target, ":[")
			if numbered { // such as socket:[123]
				target = kind
			}
			h["descriptor: "+target]++
		}
	}
	threads, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, thread := range threads {
		if at, err := os.Readlink(thread); err == nil { // else it has exited
			h["network namespace with a thread: "+at] = 1
		}
	}
	return h
}

// isRuntimes reports whether the Go runtime opens this file once and never closes it.
func isRuntimes(target string) bool {
	return slices.Contains([]string{"anon_inode:[eventpoll]", "anon_inode:[eventfd]"}, target) || strings.HasPrefix(target, "/proc/") ||
		strings.HasPrefix(target, "/sys/")
}

// goroutines returns the stacks of all goroutines that a test can have started.
func goroutines() (stacks []string) {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 2) // a buffer returns no error
	for stack := range strings.SplitSeq(strings.TrimSpace(b.String()), "\n\n") {
		_, frames, _ := strings.Cut(stack, "\n")
		kept := func(name string) bool { return strings.Contains(frames, name) }
		switch {
		case kept("nstest.resources("), kept("testing.(*M).startAlarm"), kept("os/signal.loop"), kept("os/signal.signal_recv"), kept("runtime.ensureSigM"):
		case kept("net/http.(*persistConn)"): // an idle connection of http.DefaultClient
		default:
			stacks = append(stacks, functions(frames))
		}
	}
	return stacks
}

// functions returns the functions of a stack without arguments and lines, which differ between goroutines.
func functions(frames string) string {
	var names []string
	for line := range strings.Lines(frames) {
		if !strings.HasPrefix(line, "\t") {
			name := strings.TrimPrefix(strings.TrimSpace(line), "created by ")
			if i := strings.LastIndexByte(name, '('); i > 0 {
				name = name[:i]
			}
			name, _, _ = strings.Cut(name, " in goroutine")
			names = append(names, name)
		}
	}
	return strings.Join(names, " < ")
}

// leaked returns an error that names every kind of which now has more than h.
func (h held) leaked(now held) error {
	var errs []error
	for kind, n := range now {
		if more := n - h[kind]; more > 0 {
			errs = append(errs, fmt.Errorf("%d more: %s", more, kind))
		}
	}
	return errors.Join(errs...)
}
