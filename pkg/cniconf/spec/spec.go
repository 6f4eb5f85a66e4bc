// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package spec has the constants of CNI that the plugin shares with the programs that check its configuration. It is
// separate from cniconf because the plugin must not link libcni.
package spec

// PluginType is the type of the plugin in a network configuration, and the name of its binary.
const PluginType = "halfclose"

// The default plugin and network directories of runtimes.
const (
	DefaultBinDir  = "/opt/cni/bin"
	DefaultConfDir = "/etc/cni/net.d"
)

// Versions returns the versions of the CNI specification that the plugin supports, oldest first.
func Versions() []string { return []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} }
