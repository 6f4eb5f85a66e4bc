// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// bootIDPath is described in random(4); it is the same in every container of the machine.
const bootIDPath = "/proc/sys/kernel/random/boot_id"

// BootID returns what names this boot of the machine: identities of another boot mean nothing in it.
//
// It reads with plain system calls: os.ReadFile would set up the runtime's poller, which is a twentieth of
// what a plugin process costs.
func BootID() (string, error) {
	fd, err := hostfs.Retry(func() (int, error) { return unix.Open(bootIDPath, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return "", fmt.Errorf("read boot id: open %s: %w", bootIDPath, err)
	}
	defer unix.Close(fd)
	var b [64]byte
	n, err := hostfs.Retry(func() (int, error) { return unix.Read(fd, b[:]) })
	if err != nil {
		return "", fmt.Errorf("read boot id: read %s: %w", bootIDPath, err)
	}
	id := strings.TrimSpace(string(b[:n]))
	if id == "" {
		return "", fmt.Errorf("read boot id: %s is empty", bootIDPath)
	}
	return id, nil
}
