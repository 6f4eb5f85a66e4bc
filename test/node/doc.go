// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package node gives a program a node of its own to work on, which goes with the program.
//
// The node is a mount, a network and a process namespace (where that takes no less, a user namespace too)
// in which the program is run again. /run and /var/lib are empty there and the network has nothing but a
// loopback, so that whatever is done on the node leaves the host as it was. When the program ends, is
// interrupted or is killed, the kernel ends every process on the node, and the node is gone with the last.
package node
