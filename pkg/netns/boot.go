// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// bootIDPath is described in random(4). Every container of the machine has the same.
const bootIDPath = "/proc/sys/kernel/random/boot_id"

// BootID returns the ID of this boot of the machine. Identities of another boot are invalid.
func BootID() (string, error) {
	var buf [64]byte
	b, err := hostfs.ReadStart(unix.AT_FDCWD, bootIDPath, buf[:])
	if err != nil {
		return "", fmt.Errorf("read boot id: %s: %w", bootIDPath, err)
	}
	id := strings.TrimSpace(string(b))
	if id == "" {
		return "", fmt.Errorf("read boot id: %s is empty", bootIDPath)
	}
	return id, nil
}
