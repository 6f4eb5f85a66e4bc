// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs

import (
	"os"
	"strconv"
	"strings"
)

// The inode numbers of the initial namespaces (include/uapi/linux/nsfs.h, enum init_ns_ino). Those of user and PID are
// fixed since Linux 3.8, that of cgroup since 4.6, those of net and mnt since 6.18. No other namespace gets one of them:
// dynamic numbers begin at 0xF0000000 (fs/proc/generic.c).
const (
	InitialUserNS   = 0xEFFFFFFD
	InitialPIDNS    = 0xEFFFFFFC
	InitialCgroupNS = 0xEFFFFFFB
	InitialNetNS    = 0xEFFFFFF9
	InitialMountNS  = 0xEFFFFFF8
)

// NamespaceInode returns the inode number in a link such as /proc/self/ns/mnt, whose target is "mnt:[4026531832]". It returns
// 0 if it cannot read the link.
func NamespaceInode(link string) uint64 {
	target, err := os.Readlink(link)
	if err != nil {
		return 0
	}
	return inode(target)
}

// inode returns the number in "mnt:[4026531832]", 0 without one.
func inode(target string) uint64 {
	_, rest, _ := strings.Cut(target, ":[")
	n, err := strconv.ParseUint(strings.TrimSuffix(rest, "]"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// NetnsDirs returns the directories in which ip-netns(8) and container runtimes mount named network namespaces. Usually
// /var/run is a link to /run.
func NetnsDirs() []string { return []string{"/run/netns", "/var/run/netns"} }
