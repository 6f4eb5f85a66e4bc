// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"time"
)

// Holder is the reaper that holds the lock of a state directory.
type Holder struct {
	PID       int       `json:"pid"`
	StartedBy StartedBy `json:"startedBy"`
	Since     time.Time `json:"since"`
	Version   string    `json:"version"`
}

// StartedBy is the starter of a reaper. A reaper that the plugin started hands over to any other.
type StartedBy string

// The starters of a reaper.
const (
	ByPlugin  StartedBy = "auto"
	BySystemd StartedBy = "systemd"
	ByCommand StartedBy = "command"
)

// String describes the holder for people.
func (h Holder) String() string {
	if h.PID == 0 {
		return "another process"
	}
	by := map[StartedBy]string{ByPlugin: "the CNI plugin", BySystemd: "systemd", ByCommand: "a command"}[h.StartedBy]
	if by == "" {
		by = "an unknown process"
	}
	return fmt.Sprintf("process %d, started by %s at %s", h.PID, by, h.Since.Local().Format(time.RFC3339))
}
