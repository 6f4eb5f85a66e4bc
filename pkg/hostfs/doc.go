// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package hostfs opens and reads the node's files: below a root directory if halfclose runs in a container that has the
// node's root mounted there, else in the process's own root directory.
//
// A Dir names the root and opens it for each operation; a Root keeps it open. Below either, a path resolves as after
// chroot(2): neither an absolute symbolic link nor ".." leads out of the root (openat2(2), Linux 5.6). The process's own root
// needs no openat2.
//
// The package calls openat2 itself, because cyphar/filepath-securejoin returns only O_PATH descriptors: each read would
// open the file a second time through /proc. On kernels that halfclose refuses, that library resolves paths in user
// space. Like the library, this package retries after EAGAIN and EXDEV.
//
// The package also has the inode numbers of the initial namespaces, the directories of named network namespaces, and the
// retry of interrupted system calls. It imports the standard library and x/sys only, because the plugin links it.
package hostfs
