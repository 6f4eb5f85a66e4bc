// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"

	"github.com/halfclose/halfclose/internal/thread"
)

// NetnsDir is the directory of named network namespaces (ip-netns(8)).
const NetnsDir = "/run/netns"

// AddNetns creates a named network namespace, as a runtime does before ADD, and returns its path.
func AddNetns(name string) (path string, err error) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread exits with this goroutine
		h, err := netns.NewNamed(name)
		if err == nil {
			err = h.Close()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return "", fmt.Errorf("create network namespace %s: %w", name, err)
	}
	return filepath.Join(NetnsDir, name), nil
}

// In calls fn on a thread in the network namespace at path.
func In(path string, fn func() error) (err error) {
	thread.Discard(func() {
		var h netns.NsHandle
		if h, err = netns.GetFromPath(path); err != nil {
			return
		}
		defer h.Close()
		if err = netns.Set(h); err == nil {
			err = fn()
		}
	})
	return err
}

// DeleteNetns removes the name. The kernel frees the namespace when no process, socket or open file uses it any more.
func DeleteNetns(name string) error {
	if err := netns.DeleteNamed(name); err != nil {
		return fmt.Errorf("delete network namespace %s: %w", name, err)
	}
	return nil
}

// Command prepares a command in the network namespace at path.
func Command(path, name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + path, name}, args...)...)
}
