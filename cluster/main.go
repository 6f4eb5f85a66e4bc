// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-halfclose is a kubectl plugin: "kubectl halfclose" queries and controls halfclose on all nodes of a cluster.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // the ways to log in that kubectl knows

	"github.com/halfclose/halfclose/cluster/plugin"
)

func main() { os.Exit(plugin.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
