// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command halfclose destroys TCP sockets that stay half-closed past their grace, per container.
//
// It is two things in one binary. Where CNI_COMMAND is set it is a CNI plugin, chained behind a main plugin,
// which records the attachment's network namespace and policy, and starts the shared reaper when asked to
// and none runs. Otherwise it is the command line: the reaper, and what shows and tells it what to do.
package main

import (
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/halfclose/halfclose/pkg/cli"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/logging"
	"github.com/halfclose/halfclose/pkg/state"
)

func main() {
	if os.Getenv(envCommand) == "" {
		os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	store := state.New(state.DirFromEnv(os.Getenv))
	p := &plugin{
		getenv: os.Getenv,
		stdout: os.Stdout,
		stderr: os.Stderr,
		syslog: logging.System(logging.Identifier),
		store:  store,
		now:    time.Now,
		startReaper: func() error {
			if launch.Running(store.SocketPath()) {
				return nil
			}
			return launch.Start(launch.Config{StateDir: store.Dir()})
		},
	}
	os.Exit(p.run(skel.PluginMainFuncsWithError))
}
