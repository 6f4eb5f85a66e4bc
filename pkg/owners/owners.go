// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package owners finds the processes that own sockets.
//
// The kernel lists the sockets of a process, but not the processes of a socket. So a search reads the descriptors of
// processes, and its cost grows with their number: query all sockets at once, and name their network namespaces, which have
// few processes.
//
// # Privileges
//
// Processes of other users need CAP_SYS_PTRACE (ptrace(2), to read the links /proc/PID/fd/N and /proc/PID/ns/net) and
// CAP_DAC_READ_SEARCH (to list /proc/PID/fd, which has mode 0500). Only the processes of the PID namespace for which /proc is
// mounted, and of the PID namespaces below, are visible.
package owners

import "fmt"

// Process is a process that owns a socket: one of its descriptors refers to the socket.
type Process struct {
	PID     int    `json:"pid"`
	Command string `json:"command"` // /proc/PID/comm: at most 15 bytes, chosen by the process itself
	// ContainerID is the container in the name of the process's cgroup, or "". It distinguishes the containers of a pod,
	// while an attachment names the pod's sandbox.
	ContainerID string `json:"containerID,omitempty"`
	// TID and FD name the descriptor: FD in the table of thread TID, which is PID unless a thread has its own table or the
	// main thread has exited. pidfd_open(2) opens such a thread with PIDFD_THREAD (Linux 6.9) only. TID is 0 unless the
	// query requests descriptors.
	TID int `json:"-"`
	FD  int `json:"-"`
}

// Query selects sockets and the processes to search.
type Query struct {
	// Inodes are the inode numbers of the sockets, as in sock_diag and fstat(2): nonzero, and unique among the sockets that
	// exist at one time.
	Inodes map[uint32]struct{}
	// Netns are the inode numbers of the sockets' network namespaces, as in /proc/PID/ns/net.
	Netns map[uint64]struct{}
	Scope Scope
	// Descriptors requests TID and FD of each process. The lists of different sockets then share no memory, so use it
	// for hundreds of sockets, not for all of a node.
	Descriptors bool
	// OnComplete, if not nil, is called with the inode number of each socket of which Find has found all owners. It is not
	// called if Find has skipped processes, has returned early with an error, or has found MaxOwners; nor if the socket has
	// no known owner and a process cannot be searched. A socket in flight over a unix socket, or registered with io_uring,
	// has no owner.
	OnComplete func(inode uint32)
}

// Scope selects the processes to search.
type Scope uint8

const (
	// AllProcesses finds each owner of each socket.
	AllProcesses Scope = iota
	// NetnsProcesses searches the processes in the sockets' network namespaces, and processes of other namespaces that
	// an earlier search has found to own such sockets: proxies that enter network namespaces.
	NetnsProcesses
	// NetnsProcessesFirst searches like NetnsProcesses, and then all other processes for the sockets without an owner. If a
	// socket has an owner in its network namespace, its owners in others are not found.
	NetnsProcessesFirst
)

// UnseenError means that some sockets have no known owner, and that some processes could not be searched. The owners that
// were found are valid.
type UnseenError struct {
	Sockets int // without a known owner
	Asked   int // sockets in all
	// Denied is the number of processes that the caller may not search.
	Denied int
	// OtherPIDNS means that no process of the sockets' network namespaces is visible, and that the caller is not in the
	// initial PID namespace.
	OtherPIDNS bool
}

func (e *UnseenError) Error() string {
	text := fmt.Sprintf("%d of %d sockets have no visible owner: ", e.Sockets, e.Asked)
	if e.OtherPIDNS {
		return text + "their processes are in another PID namespace: needs the host's (hostPID: true, --pid=host)"
	}
	return text + fmt.Sprintf("%d processes cannot be searched: needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH", e.Denied)
}
