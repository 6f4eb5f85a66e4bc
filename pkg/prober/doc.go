// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package prober asks the peers of half-closed sockets whether they still know the connection.
//
// It turns the kernel's keepalive on for another process's socket, through a duplicate of its descriptor
// (pidfd_getfd, Linux 5.6), and turns it off as soon as there is an answer. A peer that has closed for good
// answers a keepalive probe with a reset, which ends the socket; a peer that only shut its sending direction
// acknowledges it; a peer that vanished answers nothing, and the kernel ends the socket after the last probe. See
// docs/decisions/2026-11-29-asking-peers.md.
//
// # What is changed, and restored
//
// Five options are changed: SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT and TCP_USER_TIMEOUT. Before
// that they are recorded in a directory, so that the next Prober restores what a killed one left. An option that
// the application has changed in between keeps the application's value.
//
// # Privileges
//
// Asking needs CAP_SYS_PTRACE for processes of other users or with more capabilities, CAP_DAC_READ_SEARCH to list
// their descriptors, and CAP_SYS_ADMIN to open sock_diag in their network namespaces.
package prober
