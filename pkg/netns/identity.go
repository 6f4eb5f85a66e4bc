// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import "fmt"

// Identity names a network namespace until the next boot. It is comparable.
type Identity struct {
	// Cookie is the kernel's SO_NETNS_COOKIE, never reused within a boot; 0 if it is unknown, as on kernels before 5.14.
	Cookie uint64 `json:"cookie"`
	// Dev and Inode are those of the namespace's nsfs file (stat(2)). Inodes are reused.
	Dev   uint64 `json:"dev"`
	Inode uint64 `json:"inode"`
}

// Same reports whether both name the same namespace: device and inode are equal, and the cookies too if both are known. An
// identity without an inode names no namespace and is the same as no other.
func (id Identity) Same(other Identity) bool {
	if id.Inode == 0 || id.Dev != other.Dev || id.Inode != other.Inode {
		return false
	}
	return id.Cookie == 0 || other.Cookie == 0 || id.Cookie == other.Cookie
}

// String returns the namespace as /proc/PID/ns/net shows it, with its cookie if that is known.
func (id Identity) String() string {
	if id.Cookie == 0 {
		return fmt.Sprintf("net:[%d]", id.Inode)
	}
	return fmt.Sprintf("net:[%d] cookie %d", id.Inode, id.Cookie)
}
