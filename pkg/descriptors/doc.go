// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package descriptors finds out whether a destroy helped: it watches which processes still hold a descriptor of a socket that
// has ended.
//
// Neither a destroy nor a reset closes a descriptor. Most programs learn of it from epoll or from their next call, and close it.
// A program that has forgotten the connection holds the descriptor until it exits, and only a restart of it helps.
//
// # Privileges
//
// Processes of other users need CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, see package owners.
package descriptors
