// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package owners finds the processes that hold sockets.
//
// The kernel knows which sockets a process has, but not which processes have a socket. So whoever wants to
// know looks at the descriptors of processes, which is the more expensive the more there are: ask for all
// sockets of interest at once, and say which network namespaces they are in. Few processes are in those.
//
// # Privileges
//
// Processes of other users take CAP_SYS_PTRACE (ptrace(2), to read where /proc/PID/fd/N and /proc/PID/ns/net
// lead) and CAP_DAC_READ_SEARCH (to list /proc/PID/fd, which has mode 0500). Only the processes of the pid
// namespace that proc is mounted for, and of those below it, are to be seen.
package owners

import "fmt"

// Process is a process that holds a socket.
type Process struct {
	PID     int    `json:"pid"`
	Command string `json:"command"` // /proc/PID/comm: at most 15 bytes, chosen by the process itself
	// ContainerID is the container that the process's cgroup is named after, "" where that names none. Of a pod
	// it tells the containers apart: an attachment names the container that all of them share.
	ContainerID string `json:"containerID,omitempty"`
	// TID and FD lead to the socket: descriptor FD of the table of thread TID, which is PID unless a thread has a table
	// of its own or the main thread has exited. pidfd_open(2) reaches such a thread with PIDFD_THREAD (Linux 6.9) only.
	// TID is 0 where the query has not asked for them.
	TID int `json:"-"`
	FD  int `json:"-"`
}

// Query says whose holders to look for, and where.
type Query struct {
	// Inodes are those of the sockets, as sock_diag and fstat(2) tell them: nonzero, and different for any
	// two sockets that exist at one time.
	Inodes map[uint32]struct{}
	// Netns are the inodes of the network namespaces that the sockets are in, as /proc/PID/ns/net shows them.
	Netns map[uint64]struct{}
	Scope Scope
	// Descriptors asks for TID and FD of each process. Lists of several sockets then share no memory: ask so for
	// hundreds of sockets, not for all.
	Descriptors bool
	// OnComplete, if not nil, is called with the inode of each socket whose holders were all found. It is not
	// where processes were not looked at, an error kept Find from it, or there may be more than MaxOwners; nor where none was
	// found and a process may not be looked at.
	// A socket in flight over a unix socket, or registered with io_uring, is held by no process.
	OnComplete func(inode uint32)
}

// Scope says which processes are looked at.
type Scope uint8

const (
	// AllProcesses looks at all processes: each holder of each socket is found.
	AllProcesses Scope = iota
	// NetnsProcesses looks only at processes that are in the sockets' network namespaces, and at those elsewhere that
	// were found to hold such sockets before: proxies that enter namespaces.
	NetnsProcesses
	// NetnsProcessesFirst looks inside, and for what has no holder there among all other processes. A socket that has one
	// may have others elsewhere, which are not found.
	NetnsProcessesFirst
)

// UnseenError says that some sockets were found no holder for, and that there are processes which could not
// be looked at. What was found is valid.
type UnseenError struct {
	Sockets int // without a holder
	Asked   int // sockets in all
	// Denied is how many processes may not be looked at.
	Denied int
	// OtherPIDNS is set where no process of the sockets' network namespaces is to be seen at all, and the caller
	// is not in the machine's first pid namespace.
	OtherPIDNS bool
}

func (e *UnseenError) Error() string {
	text := fmt.Sprintf("no owner is to be seen of %d of %d sockets: ", e.Sockets, e.Asked)
	if e.OtherPIDNS {
		return text + "their processes are in another pid namespace, it takes the host's (hostPID: true, --pid=host)"
	}
	return text + fmt.Sprintf("%d processes may not be looked at, it takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH", e.Denied)
}
