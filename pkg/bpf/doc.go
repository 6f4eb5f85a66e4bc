// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package bpf loads the programs by which the kernel itself tells which sockets are half-closed.
//
// One program is called at each change of a TCP socket's state and keeps the set of those that are half-closed
// now, with the time at which they became so. Another walks the files of all processes and lists the half-closed
// sockets that they hold; it puts into the set what that lacks. Both look at watched network namespaces only.
//
// The set is a hint: it may lack sockets whose change of state the program was not called for, and hold some that
// are half-closed no more. Nothing is pinned: programs, maps and links end with the process.
//
// # Privileges
//
// Load needs CAP_BPF and CAP_PERFMON, in the first user namespace. The walk sees the processes of the caller's
// pid namespace and of those below.
package bpf
