// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package prober asks the peers of half-closed sockets whether they still know the connection.
//
// It turns on keepalive for another process's socket, through a duplicate of its descriptor (pidfd_getfd, Linux 5.6), and
// turns it off as soon as there is an answer. A peer that has closed for good answers a keepalive probe with a reset, which
// closes the socket; a peer that has only shut its sending direction acknowledges it; a peer that has vanished does not
// answer, and the kernel closes the socket after the last probe. See docs/decisions/2026-11-29-asking-peers.md.
//
// # Changed and restored options
//
// A question changes five options: SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT and TCP_USER_TIMEOUT. The
// prober first records their values in a directory, so that the next Prober can restore the sockets of a killed one. An
// option that the application changes during the question keeps the application's value.
//
// # Privileges
//
// Asking needs CAP_SYS_PTRACE for processes of other users or with more capabilities, CAP_DAC_READ_SEARCH to list
// their descriptors, and CAP_SYS_ADMIN to open sock_diag in their network namespaces.
package prober
