// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"
)

// NetnsDir is where ip-netns(8) and container runtimes keep the namespaces that have a name.
const NetnsDir = "/run/netns"

// AddNetns makes a network namespace that has a name, as a runtime does before it calls ADD, and returns
// its path.
func AddNetns(name string) (path string, err error) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		h, err := netns.NewNamed(name)
		if err == nil {
			err = h.Close()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return "", fmt.Errorf("make network namespace %s: %w", name, err)
	}
	return filepath.Join(NetnsDir, name), nil
}

// DeleteNetns takes the name away. The namespace goes with the last that holds it: a process in it, a
// socket, an open file.
func DeleteNetns(name string) error {
	if err := netns.DeleteNamed(name); err != nil {
		return fmt.Errorf("delete network namespace %s: %w", name, err)
	}
	return nil
}

// Command prepares a command that runs in the network namespace at path.
func Command(path, name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + path, name}, args...)...)
}
