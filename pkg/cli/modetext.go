// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// capReasons lists the caps that keep a node below m, with advice for the reaper's --mode.
func capReasons(v api.ModeView, m policy.Mode) []string {
	reasons := v.CapReasons(m)
	for i, limit := range v.Caps(m) {
		if limit == api.CapReaper {
			reasons[i] += fmt.Sprintf(" (start it with --mode %v)", m)
		}
	}
	return reasons
}

// maxWhoBytes bounds the name of an operator, so that no name makes the switch invalid.
const maxWhoBytes = 100

// who returns the name of the user for the switch file.
func (e *env) who() string {
	name := e.Getenv("SUDO_USER")
	if name != "" {
		name += " (sudo)"
	} else if u, err := user.Current(); err == nil && u.Username != "" && u.Username != u.Uid { // in a container the user may have no name
		name = u.Username
	} else {
		name = "uid " + strconv.Itoa(os.Getuid())
	}
	return strings.ToValidUTF8(name[:min(len(name), maxWhoBytes)], "")
}
