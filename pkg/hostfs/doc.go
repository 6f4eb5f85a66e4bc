// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package hostfs is the node's file system as halfclose sees it: below a root directory where halfclose runs in a
// container that has the node's root mounted, in the process's own root directory elsewhere.
//
// A Dir names the root and opens it for each operation; a Root holds it open. Below either, a path resolves as
// chroot(2) there would make it: an absolute symbolic link, or any number of "..", leads no further up (openat2(2), Linux
// 5.6). The process's own root needs no openat2.
//
// The package calls openat2 itself instead of using cyphar/filepath-securejoin, because that returns O_PATH handles
// only, so that each read would open the file a second time through /proc, and falls back to resolving in user space
// on kernels that halfclose refuses. Both retry on EAGAIN and EXDEV, and both resolve absolute links below the root.
//
// It also has what callers at several places need to know of a node: the inode numbers of the initial namespaces,
// and the directories in which network namespaces have names. It imports the standard library and x/sys only, since
// the plugin links it.
package hostfs
