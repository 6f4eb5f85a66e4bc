// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package bpf loads BPF programs that report the half-closed sockets of watched network namespaces.
//
// One program runs at each state change of a TCP socket. It keeps a set of the sockets that are half-closed now, with the
// time at which each became half-closed. A second program is an iterator over the file descriptors of all processes: a
// walk. It reports the half-closed sockets that processes own, and adds the ones that the set lacks.
//
// The set is a hint. It lacks sockets for whose state change the kernel did not run the program, and it may have
// sockets that are not half-closed any more. Nothing is pinned: the kernel unloads the programs when the process exits.
//
// # Privileges
//
// Load needs CAP_BPF and CAP_PERFMON in the initial user namespace. A walk covers the processes of the caller's PID
// namespace and of the PID namespaces below.
package bpf
