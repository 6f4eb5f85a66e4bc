// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import (
	"fmt"
	"strconv"
	"strings"
)

// String returns the command and the PID, such as nginx[7]. A process chooses its own command, so a command
// with any other character than letters, digits and -_.:/+@ is quoted.
func (p Process) String() string { return fmt.Sprintf("%s[%d]", quoteCommand(p.Command), p.PID) }

// maxNames is how many processes Names lists.
const maxNames = 4

// Names lists processes for one line of a log: "nginx[7] sidecar[9]". After the first four it counts the
// rest: "and 3 more". It returns "" for no processes.
func Names(list []Process) string {
	var b strings.Builder
	for i, p := range list {
		if i == maxNames {
			fmt.Fprintf(&b, " and %d more", len(list)-i)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// quoteCommand returns the command, quoted unless each of its characters is harmless in a log line.
func quoteCommand(command string) string {
	isHarmless := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:/+@", r)
	}
	if command != "" && strings.IndexFunc(command, func(r rune) bool { return !isHarmless(r) }) < 0 {
		return command
	}
	return strconv.QuoteToASCII(command)
}
