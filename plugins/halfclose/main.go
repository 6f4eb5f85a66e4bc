// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command halfclose is the CNI plugin, chained after a main plugin. It records each attachment's network namespace and
// policy, and starts the shared reaper if the configuration asks for that and none is running.
//
// The reaper and the command line are another program: see cmd/halfclose.
package main

import (
	"os"
	"time"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/systemlog"
)

func main() {
	if os.Getenv(envCommand) == "" {
		describe(os.Stderr, launch.Sibling)
		os.Exit(2)
	}
	store := state.New(state.DirFromEnv(os.Getenv))
	p := &plugin{
		getenv: os.Getenv,
		stdout: os.Stdout,
		stderr: os.Stderr,
		syslog: systemlog.Log{},
		store:  store,
		now:    time.Now,
		reaper: sibling{store},
		build:  buildinfo.Get().Build(),
		exit:   os.Exit,
	}
	os.Exit(p.run(dispatchSkel))
}
