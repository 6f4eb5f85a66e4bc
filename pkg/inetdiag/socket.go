// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import "time"

// Socket is one TCP socket as the kernel reports it: struct inet_diag_msg and its attributes
// (include/uapi/linux/inet_diag.h).
type Socket struct {
	ID    ID
	State State

	// Timer is the running timer (idiag_timer): 0 none, 1 retransmit, 2 keepalive, 3 TIME_WAIT or an orphan's
	// FIN_WAIT2, 4 zero-window probe. It expires after Expires, and has done so Retrans times.
	Timer   uint8
	Retrans uint8
	Expires time.Duration

	// RQueue and WQueue are bytes. In a connection's states RQueue counts received bytes that the owner has not read,
	// with 1 for an unread FIN, and WQueue counts written bytes that the peer has not acknowledged, sent or not.
	RQueue, WQueue uint32

	UID uint32
	// Inode is the number in the link "socket:[N]" of /proc/PID/fd. 0 means that no process owns the socket: it is an
	// orphan, or still in the accept queue. The kernel's own sockets have an inode too.
	Inode uint32

	// ULP is the upper-layer protocol of INET_DIAG_ULP_INFO, such as "mptcp" or "tls", or "". The kernel reports it
	// only together with tcp_info. Before Linux 6.18 it needs CAP_NET_ADMIN.
	ULP string

	// ClassID is the net_cls class of the cgroup of the process that created the socket, or was the last to receive it
	// by pidfd_getfd(2) or SCM_RIGHTS. If that is 0 the kernel reports SO_PRIORITY, which IP_TOS sets too. A dump leaves
	// it 0.
	ClassID uint32

	// Info has fields of struct tcp_info. HasInfo is false if the request did not ask for it or the socket has none
	// (mini-sockets).
	Info    TCPInfo
	HasInfo bool
}

// TCPInfo has fields of the kernel's struct tcp_info (include/uapi/linux/tcp.h). A field that an older kernel lacks is
// zero. Times have the resolution of the kernel's tick.
type TCPInfo struct {
	State  State
	Probes uint8 // keepalive or zero-window probes without an answer

	// LastAckRecv is the time since the last acceptable ACK, including those of keepalive probes and FINs: the socket has
	// been in its state at least as long.
	LastDataRecv, LastAckRecv time.Duration

	// BytesAcked and BytesReceived count SYN and FIN as 1 each (RFC 4898
	// tcpEStatsAppHCThruOctetsAcked, tcpEStatsAppHCThruOctetsReceived).
	BytesAcked, BytesReceived uint64
	SegsOut, SegsIn           uint32
}
