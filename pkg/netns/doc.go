// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package netns identifies the network namespace that a path leads to.
//
// A namespace is known by its Identity: the device and inode of its nsfs file and its cookie. Inode numbers
// are reused as soon as a namespace is gone; cookies are unique until the next boot, when both start afresh.
//
// # Holding a namespace
//
// A Handle pins its namespace: as long as one is open, the namespace lives on after its last process and its
// last mount are gone, with its interfaces and their addresses. Open one for one operation and close it.
//
// # Privileges
//
// Opening needs the right to reach the path, and for /proc/PID/ns/net the right to ptrace(2)-read that
// process. Handle.Do and Handle.Identify enter the namespace, which needs CAP_SYS_ADMIN in the user
// namespace that owns it and in the caller's own (setns(2)).
package netns
