// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package netns identifies the network namespace that a path leads to.
//
// An Identity names a namespace: the device and inode of its nsfs file, and its cookie. The kernel reuses the inode number of
// a deleted namespace at once. A cookie is unique until the next boot.
//
// # Pinning a namespace
//
// An open Handle pins its namespace: the namespace exists, with its interfaces and addresses, even after its last process
// and its last mount are gone. Open a Handle for one operation and close it.
//
// # Privileges
//
// Opening needs the right to reach the path, and for /proc/PID/ns/net the right to ptrace(2)-read that
// process. Handle.Do and Handle.Identify enter the namespace, which needs CAP_SYS_ADMIN in the user
// namespace that owns it and in the caller's own (setns(2)).
package netns
