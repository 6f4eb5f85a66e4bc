// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package node runs a program on a node of its own.
//
// The node is a mount, a network and a PID namespace (and a user namespace if that is what the privileges require), in
// which the program is started again. /run and /var/lib are empty there, and the network has only a loopback, so that
// nothing on the node changes the host. If the program exits, is interrupted or is killed, the kernel kills all processes
// of the node and frees it.
package node
