// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command halfclose is the reaper, which destroys TCP sockets that stay half-closed past their grace, and the
// command line around it. The CNI plugin is a program of its own: see plugins/halfclose.
package main

import (
	"fmt"
	"os"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/pkg/cli"
	"github.com/halfclose/halfclose/pkg/daemon"
)

func main() {
	if verb := os.Getenv("CNI_COMMAND"); verb != "" && len(os.Args) == 1 {
		os.Exit(refuse(verb))
	}
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr, daemon.Command(daemon.Environment{})))
}

// refuse answers a runtime that calls the command in the plugin's place, as after a copy of the wrong file. A DEL
// succeeds, so that no pod is kept from ending: the reaper removes records whose namespace is gone.
func refuse(verb string) int {
	err := types.NewError(types.ErrInternal, "this is the halfclose command, not the CNI plugin", "install the plugin in its place: halfclose install")
	if verb == "DEL" {
		fmt.Fprintln(os.Stderr, "halfclose:", err)
		return 0
	}
	_ = err.Print() // the exit code is an error too
	return 1
}
