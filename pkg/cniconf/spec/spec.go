// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package spec has the fixed points of CNI that the plugin shares with the programs that look at its configuration.
// It is apart from cniconf because the plugin links it: cniconf uses libcni, which the plugin must not link.
package spec

// PluginType is the type of the plugin in a network configuration, and the name of its binary.
const PluginType = "halfclose"

// The directories in which runtimes look for plugins and networks by default.
const (
	DefaultBinDir  = "/opt/cni/bin"
	DefaultConfDir = "/etc/cni/net.d"
)

// Versions returns the versions of the CNI specification that the plugin speaks, oldest first.
func Versions() []string { return []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} }
