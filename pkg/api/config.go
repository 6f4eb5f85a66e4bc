// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import "time"

// Config is the answer to GET /v1/config: the configuration of a running reaper.
type Config struct {
	Flags    []FlagView   `json:"flags"` // of "halfclose reaper", by name
	LogLevel LogLevelView `json:"logLevel"`
	// Warnings are about variables HALFCLOSE_... in the reaper's environment that have no effect.
	Warnings []string `json:"warnings,omitempty"`
}

// FlagView is the value of one flag of the reaper.
type FlagView struct {
	Name     string      `json:"name"` // without dashes
	Value    string      `json:"value"`
	Source   ValueSource `json:"source"`
	Default  string      `json:"default"`
	Variable string      `json:"variable"` // of the environment, which sets the flag too
}

// ValueSource is where a flag's value comes from.
type ValueSource string

// The sources of a flag's value.
const (
	FromFlag        ValueSource = "flag"
	FromEnvironment ValueSource = "environment"
	FromDefault     ValueSource = "default"
	FromPlugin      ValueSource = "plugin" // the default of a reaper that the CNI plugin started
)

// LogLevelView is the level of the lowest lines that a reaper logs.
type LogLevelView struct {
	Level string `json:"level"` // debug, info, warn or error
	// Configured is the level of --log-level, which returns at Until and with the next reaper.
	Configured string    `json:"configured"`
	Until      time.Time `json:"until,omitzero"`
	Who        string    `json:"who,omitempty"` // the user who set Level, if it is not the configured one
}

// LogLevelRequest is the body of PUT /v1/log-level.
type LogLevelRequest struct {
	Level string  `json:"level"`                // debug, info, warn or error
	For   Seconds `json:"forSeconds,omitempty"` // 0 is until the reaper exits
	Who   string  `json:"who"`
}
