/* Copyright The halfclose Authors
 * SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
 *
 * What the programs report of a socket. The values are the same as in sock_diag.
 */
#pragma once

#include "kernel.h"

/* struct inet_diag_sockid of include/uapi/linux/inet_diag.h */
struct id {
	__be16 sport, dport;
	__be32 src[4], dst[4];
	__u32 interface;
	__u32 cookie[2];
};

struct snapshot {
	__u64 at;      /* CLOCK_MONOTONIC: when the socket was read */
	__u64 entered; /* when it became half-closed; 0: the program was not called then */
	__u64 netns;
	__u64 bytes_acked;
	__u64 bytes_received;
	char ulp[8]; /* the first bytes of the upper-layer protocol's name */
	__u32 rqueue;
	__u32 wqueue;
	__u32 segs_in;
	__u32 uid;
	__u32 inode;
	__u32 since_ack;  /* jiffies */
	__u32 since_data; /* jiffies */
	__u8 opened; /* enum opened */
	__u8 unused;
	__u8 state;
	__u8 family; /* directly before id, which is the binary form of pkg/inetdiag's ID */
	struct id id;
};

static __always_inline int half_closed(int state)
{
	return state == TCP_CLOSE_WAIT || state == TCP_FIN_WAIT2;
}

/* copy8 copies 8 bytes of kernel memory without bpf_probe_read_kernel, which a kernel in lockdown=confidentiality
 * refuses. */
static __always_inline void copy8(char *to, const char *from)
{
	*(__u64 *)to = *(const __u64 *)from;
}

/* inode_of does what sock_i_ino() does, except that before Linux 6.18 it returns 0 for the kernel's own sockets. */
static __always_inline __u32 inode_of(struct sock *sk)
{
	if (bpf_core_field_exists(sk->sk_ino))
		return sk->sk_ino;
	struct socket *socket = sk->sk_socket;
	struct file *file = socket ? socket->file : NULL;
	return file ? file->f_inode->i_ino : 0;
}

/* inet_diag_msg_common_fill() of net/ipv4/inet_diag.c */
static __always_inline void read_id(struct snapshot *s, struct sock *sk, __u64 cookie)
{
	s->family = sk->__sk_common.skc_family;
	s->id.sport = __builtin_bswap16(sk->__sk_common.skc_num);
	s->id.dport = sk->__sk_common.skc_dport;
	s->id.interface = sk->__sk_common.skc_bound_dev_if;
	s->id.cookie[0] = cookie;
	s->id.cookie[1] = cookie >> 32;
	if (s->family != AF_INET6) {
		s->id.src[0] = sk->__sk_common.skc_rcv_saddr;
		s->id.dst[0] = sk->__sk_common.skc_daddr;
	} else if (bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
#pragma unroll
		for (int i = 0; i < 4; i++) {
			s->id.src[i] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[i];
			s->id.dst[i] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[i];
		}
	}
}

/* The side that opened the connection. */
enum opened { OPENED_UNKNOWN, OPENED_HERE, OPENED_BY_PEER };

/* opened_by reads the traces that connect() and the handshake leave in the socket. It needs no lookup of a listener,
 * which may have closed.
 *
 * Client: if connect() chose the local port, fastreuse of the port's bucket is negative until bind() uses that port
 * (__inet_hash_connect() of net/ipv4/inet_hashtables.c).
 *
 * Server: an accepted socket has the handshake's incoming interface in the field that is the multicast interface of a
 * datagram socket (tcp_v4_syn_recv_sock(), tcp_v6_syn_recv_sock()). No socket option sets it on a stream socket.
 *
 * The bucket is checked first: an accepted socket that its owner disconnects and connects elsewhere keeps the interface. */
static __always_inline __u8 opened_by(struct inet_connection_sock *icsk, int family)
{
	struct inet_sock *inet = &icsk->icsk_inet;
	struct inet_bind_bucket *bucket = icsk->icsk_bind_hash;
	if (bucket && bucket->fastreuse < 0)
		return OPENED_HERE;
	if (family != AF_INET6)
		return inet->mc_index ? OPENED_BY_PEER : OPENED_UNKNOWN;
	if (!bpf_core_field_exists(inet->pinet6))
		return OPENED_UNKNOWN;
	struct ipv6_pinfo *v6 = inet->pinet6;
	return v6 && v6->mcast_oif ? OPENED_BY_PEER : OPENED_UNKNOWN;
}

/* read_snapshot reads what inet_sk_diag_fill(), tcp_diag_get_info() and tcp_get_info() read. The caller has zeroed s.
 * state is an argument because the tracepoint fires before the new state is stored. */
static __always_inline void read_snapshot(struct snapshot *s, struct tcp_sock *tp, int state, __u64 netns, __u64 cookie)
{
	struct inet_connection_sock *icsk = &tp->inet_conn;
	struct sock *sk = &icsk->icsk_inet.sk;
	__u32 now = bpf_jiffies64();
	__s32 unread = tp->rcv_nxt - tp->copied_seq;

	s->at = bpf_ktime_get_ns();
	s->netns = netns;
	s->state = state;
	s->bytes_acked = tp->bytes_acked;
	s->bytes_received = tp->bytes_received;
	s->rqueue = unread > 0 ? unread : 0;
	s->wqueue = tp->write_seq - tp->snd_una;
	s->segs_in = tp->segs_in;
	s->uid = sk->sk_uid.val;
	s->inode = inode_of(sk);
	s->since_ack = now - tp->rcv_tstamp;
	s->since_data = now - icsk->icsk_ack.lrcvtime;
	const struct tcp_ulp_ops *ulp = icsk->icsk_ulp_ops;
	if (ulp)
		copy8(s->ulp, ulp->name);
	read_id(s, sk, cookie);
	s->opened = opened_by(icsk, s->family);
}
