// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"fmt"
	"os"
	"strings"
)

// bootIDPath is described in random(4); it is the same in every container of the machine.
const bootIDPath = "/proc/sys/kernel/random/boot_id"

// BootID returns what names this boot of the machine: identities of another boot mean nothing in it.
func BootID() (string, error) {
	b, err := os.ReadFile(bootIDPath)
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if id == "" {
		return "", fmt.Errorf("read boot id: %s is empty", bootIDPath)
	}
	return id, nil
}
