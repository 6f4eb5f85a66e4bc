// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import "time"

// Socket is what the kernel said of one TCP socket: struct inet_diag_msg and the attributes behind it
// (include/uapi/linux/inet_diag.h).
type Socket struct {
	ID    ID
	State State

	// Timer says which timer runs (idiag_timer): 0 none, 1 retransmit, 2 keepalive, 3 TIME_WAIT or an
	// orphan's FIN_WAIT2, 4 zero-window probe. Expires is when it fires, Retrans how often it has.
	Timer   uint8
	Retrans uint8
	Expires time.Duration

	// RQueue and WQueue are bytes. In a connection's states RQueue is what was received and not yet read,
	// a FIN counting 1 until it is read, and WQueue what was written and not yet acknowledged, sent or not.
	RQueue, WQueue uint32

	UID uint32
	// Inode is the number in the "socket:[N]" of /proc/PID/fd. 0 means that no process owns the socket: an
	// orphan, or a connection that was not accepted yet. A socket of the kernel itself has an inode too.
	Inode uint32

	// Shutdown is the INET_DIAG_SHUTDOWN attribute: RcvShutdown | SendShutdown. HasShutdown is false where
	// the kernel did not send one (mini-sockets).
	Shutdown    uint8
	HasShutdown bool

	// ULP is the upper-layer protocol of INET_DIAG_ULP_INFO, such as "mptcp" or "tls", or "". The kernel
	// sends it only beside tcp_info; an older one only to holders of CAP_NET_ADMIN, Linux 6.18 to anyone.
	ULP string

	// ClassID is the net_cls class of the cgroup of whoever created the socket or received it last by pidfd_getfd(2)
	// or SCM_RIGHTS; where that is 0 the kernel sends the socket's SO_PRIORITY, which IP_TOS sets too. A dump never
	// has it.
	ClassID uint32

	// Info is struct tcp_info. HasInfo is false where it was not asked for or the socket has none
	// (mini-sockets).
	Info    TCPInfo
	HasInfo bool
}

// The bits of Socket.Shutdown (include/net/sock.h).
const (
	RcvShutdown  = 1
	SendShutdown = 2
)

// TCPInfo is the kernel's struct tcp_info (include/uapi/linux/tcp.h) as far as the kernel sent it: fields
// that an older kernel does not have are zero. Times have the resolution of the kernel's tick.
type TCPInfo struct {
	State       State
	CAState     uint8
	Retransmits uint8
	Probes      uint8
	Backoff     uint8
	Options     uint8

	RTO, ATO       time.Duration
	SndMSS, RcvMSS uint32

	Unacked, Sacked, Lost, Retrans, Fackets uint32

	// LastDataSent moves with retransmissions and zero-window probes too. LastAckRecv is moved by every
	// acceptable ACK, those of keepalives and FINs among them: it is a lower bound of the time in state.
	LastDataSent, LastDataRecv, LastAckRecv time.Duration

	PMTU, RcvSSThresh                     uint32
	RTT, RTTVar                           time.Duration
	SndSSThresh, SndCwnd, AdvMSS, Reorder uint32
	RcvRTT                                time.Duration
	RcvSpace, TotalRetrans                uint32

	PacingRate, MaxPacingRate uint64 // bytes per second

	// BytesAcked and BytesReceived count SYN and FIN as 1 each (RFC 4898
	// tcpEStatsAppHCThruOctetsAcked, tcpEStatsAppHCThruOctetsReceived).
	BytesAcked, BytesReceived uint64
	SegsOut, SegsIn           uint32

	NotSentBytes uint32
	MinRTT       time.Duration
	DataSegsIn   uint32
	DataSegsOut  uint32
	DeliveryRate uint64 // bytes per second

	BusyTime, RwndLimited, SndbufLimited time.Duration
	Delivered, DeliveredCE               uint32
	BytesSent, BytesRetrans              uint64
	DSACKDups, ReordSeen                 uint32
	RcvOOOPack, SndWnd                   uint32
}
