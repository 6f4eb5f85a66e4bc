// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package hostfs

import (
	"os"
	"strconv"
	"strings"
)

// The inode numbers of the namespaces that the machine was booted with (include/uapi/linux/nsfs.h, enum
// init_ns_ino). Those of user and pid have been fixed since Linux 3.8, that of cgroup since 4.6, those of net and mnt
// since 6.18; no other namespace ever gets one of them, since dynamic ones begin at 0xF0000000 (fs/proc/generic.c).
const (
	InitialUserNS   = 0xEFFFFFFD
	InitialPIDNS    = 0xEFFFFFFC
	InitialCgroupNS = 0xEFFFFFFB
	InitialNetNS    = 0xEFFFFFF9
	InitialMountNS  = 0xEFFFFFF8
)

// NamespaceInode returns the inode number in a link such as /proc/self/ns/mnt, which leads to "mnt:[4026531832]", or
// 0 if the link cannot be read.
func NamespaceInode(link string) uint64 {
	target, err := os.Readlink(link)
	if err != nil {
		return 0
	}
	return inode(target)
}

// inode returns the number in "mnt:[4026531832]", 0 if there is none.
func inode(target string) uint64 {
	_, rest, _ := strings.Cut(target, ":[")
	n, err := strconv.ParseUint(strings.TrimSuffix(rest, "]"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// NetnsDirs returns the directories of the node in which ip-netns(8) and container runtimes keep the network
// namespaces that have names. Usually the second is a link to the first.
func NetnsDirs() []string { return []string{"/run/netns", "/var/run/netns"} }
