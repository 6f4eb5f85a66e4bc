// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plan

// HomePort returns the port of an owner's listener in its namespace, AwayPort that of a listener of the peers, and QueuePort
// that of a listener whose connections stay in the accept queue.
func HomePort(owner, port int) int { return 8000 + 100*owner + port }

// AwayPort is described at [HomePort].
func AwayPort(port int) int { return 7000 + port }

// QueuePort is described at [HomePort].
func QueuePort(port int) int { return 9000 + port }

// MappedPorts is added to the index of a listener for IPv4-mapped addresses.
const MappedPorts = 20

// CountedPort is the index of the listener for the rules with a count.
const CountedPort = 8
