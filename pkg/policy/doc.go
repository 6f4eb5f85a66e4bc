// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package policy decides how long a half-closed socket may live, and when its peer is asked.
//
// A Layer is what one place says of a policy: a CNI network configuration (ParseNetwork), a pod's annotations, a record.
// Layers.Resolve makes the policies of an attachment out of its layers, with the source of each value. What is wrong comes
// back as values, every problem at once, and nothing fails: a value with a problem is left out.
//
// Judge is the pure judgement: given the policies, what the kernel reports of one socket, the earlier looks at it, its role and
// owners and the time, it returns whether to destroy the socket, to ask its peer or to spare it, and why. Several policies are
// each judged, and their sentences are joined. docs/judgement.md has the rules as tables.
//
// The package does no I/O and needs no privilege. Its values may be copied and read from any goroutine; the
// slices inside them are not written to after they are made.
package policy
