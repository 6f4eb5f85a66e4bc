// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package policy decides how long a half-closed socket may live.
//
// A Policy says it: the mode, the grace of each of the two half-closed states, the clock that the grace is
// counted by, what pending data does to it, and which sockets are exempt. ParseNetwork reads one from a CNI
// network configuration, Network.WithAnnotations lets a pod's annotations change it, and Merge makes one of
// the policies of several attachments. All of them report what is wrong as values, every problem at once,
// and none of them fails: what has a problem keeps the value of the layer below it.
//
// Judge is the pure judgement: given what the kernel says of one socket, the earlier looks at it and the
// time, destroy it or spare it, and why.
//
// The package does no I/O and needs no privilege. Its values may be copied and read from any goroutine; the
// slices inside them are not written to after they are made.
package policy
