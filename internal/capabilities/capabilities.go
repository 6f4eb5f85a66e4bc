// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package capabilities has the two functions that most callers need of github.com/moby/sys/capability: which
// capabilities the calling thread lacks, and their names.
package capabilities

import (
	"fmt"
	"strings"

	"github.com/moby/sys/capability"
)

// Missing returns the capabilities that are not in the calling thread's effective set.
func Missing(needed ...capability.Cap) ([]capability.Cap, error) {
	set, err := capability.NewPid2(0)
	if err == nil {
		err = set.Load()
	}
	if err != nil {
		return nil, fmt.Errorf("read the thread's capabilities: %w", err)
	}
	var missing []capability.Cap
	for _, c := range needed {
		if !set.Get(capability.EFFECTIVE, c) {
			missing = append(missing, c)
		}
	}
	return missing, nil
}

// Names returns the names of capabilities, each after prefix: with "CAP_" as in capabilities(7), with "" as in
// Kubernetes and docker.
func Names(prefix string, list ...capability.Cap) []string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = prefix + strings.ToUpper(c.String())
	}
	return names
}
