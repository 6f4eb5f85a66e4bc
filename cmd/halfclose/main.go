// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command halfclose is the reaper, which destroys TCP sockets that stay half-closed past their grace, and the command line.
// The CNI plugin is another program: see plugins/halfclose.
package main

import (
	"os"

	"github.com/halfclose/halfclose/pkg/cli"
	"github.com/halfclose/halfclose/pkg/daemon"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr, daemon.Command(daemon.Environment{})))
}
