// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package policy decides how long a half-closed socket may live, and when its peer is asked.
//
// A Layer has the policy values of one source: a CNI network configuration (ParseNetwork), a pod's annotations, a record.
// Layers.Resolve combines the layers of an attachment into its policies, with the source of each value. Parsing does not
// fail: it returns all problems at once, and leaves out the values that have one.
//
// Judge is a pure function of the policies, a look at a socket, the history of earlier looks, its role, its owners and
// the time. It returns whether to destroy the socket, to ask its peer or to spare it, and why. Each policy is judged
// separately, and their sentences are joined. docs/judgement.md has the rules as tables.
//
// The package does no I/O and needs no privilege. Its values may be copied, and read by several goroutines at the same
// time; the slices inside them are never modified.
package policy
