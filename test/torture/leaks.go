// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/torture/model"
)

// leakPatience is how long the reaper may take to let go of what is gone, on a busy machine.
const leakPatience = 2 * time.Minute

// leaks stops everything, and returns what is left over: descriptors, processes, mounts, network namespaces and files.
func (s *session) leaks(ctx context.Context) (all []string, err error) {
	if err := s.awaitHealth(ctx); err != nil {
		return nil, err
	}
	if err := s.world.Close(); err != nil {
		return nil, err
	}
	used := s.node.Reaper.PID()
	code, fresh := 0, 0
	descriptors := func() (int, []string) {
		names, err := openFiles(used)
		if err != nil {
			return 0, []string{err.Error()}
		}
		return len(names), names
	}
	const slack = 2
	var names []string
	count := 0
	// A new reaper has the descriptors that one without attachments needs.
	err = awaitCondition(ctx, func() bool { count, names = descriptors(); return !slices.ContainsFunc(names, isNetns) })
	if err != nil {
		all = append(all, fmt.Sprintf("leaked: the reaper has descriptors of network namespaces: %v", names))
	}
	if code, err = s.node.Reaper.Stop(leakPatience); err != nil {
		return nil, err
	} else if code != 0 {
		all = append(all, fmt.Sprintf("the reaper's exit code after SIGTERM is %d", code))
	}
	all = append(all, s.leftFiles()...)
	if err := s.node.Reaper.Start(); err != nil {
		return nil, err
	}
	if err := s.awaitHealth(ctx); err != nil {
		return nil, err
	}
	used = s.node.Reaper.PID()
	fresh, _ = descriptors()
	if count > fresh+slack {
		all = append(all, fmt.Sprintf("leaked: the reaper had %d descriptors, a new one has %d: %v", count, fresh, names))
	}
	if _, err = s.node.Reaper.Stop(leakPatience); err != nil {
		return nil, err
	}
	var left []string
	if err := awaitCondition(ctx, func() bool { left = processes(); return len(left) == 0 }); err != nil {
		all = append(all, fmt.Sprintf("leaked: processes %v", left))
	}
	if entries, err := os.ReadDir(node.NetnsDir); err == nil && len(entries) > 0 {
		all = append(all, fmt.Sprintf("leaked: network namespaces %v", entries))
	}
	return all, nil
}

// awaitCondition waits until a condition holds.
func awaitCondition(ctx context.Context, holds func() bool) error {
	for end := model.Now() + leakPatience; ; time.Sleep(50 * time.Millisecond) {
		if holds() {
			return nil
		}
		if model.Now() > end || ctx.Err() != nil {
			return fmt.Errorf("not within %v", leakPatience)
		}
	}
}

// openFiles lists what a process has open.
func openFiles(pid int) (names []string, err error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			names = append(names, name)
		}
	}
	return names, err
}

func isNetns(name string) bool {
	return strings.HasPrefix(name, "net:[") || strings.HasPrefix(name, node.NetnsDir)
}

// processes lists the processes of the node beside the test.
func processes() (all []string) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 || pid == os.Getpid() {
			continue
		}
		command, err := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		if err == nil {
			all = append(all, fmt.Sprintf("%s[%d]", strings.TrimSpace(string(command)), pid))
		}
	}
	return all
}

// leftFiles lists the files of halfclose that should be gone: every attachment was deleted.
func (s *session) leftFiles() (all []string) {
	entries, err := os.ReadDir(filepath.Join(stateDir, "attachments"))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		all = append(all, "leaked: the record "+e.Name())
	}
	return all
}
