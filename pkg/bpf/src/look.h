/* Copyright The halfclose Authors
 * SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
 *
 * What is told of a socket, and how it is read. It is what sock_diag says of the same socket.
 */
#pragma once

#include "kernel.h"

/* struct inet_diag_sockid of include/uapi/linux/inet_diag.h, with which sock_diag names a socket. */
struct id {
	__be16 sport, dport;
	__be32 src[4], dst[4];
	__u32 interface;
	__u32 cookie[2];
};

struct look {
	__u64 at;      /* CLOCK_MONOTONIC: when this was read */
	__u64 entered; /* when it became half-closed, 0 if that was not seen */
	__u64 netns;
	__u64 bytes_acked;
	__u64 bytes_received;
	char ulp[8]; /* as much of the name of the upper-layer protocol */
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
	__u8 family; /* directly in front of id: so pkg/inetdiag has them too */
	struct id id;
};

static __always_inline int half_closed(int state)
{
	return state == TCP_CLOSE_WAIT || state == TCP_FIN_WAIT2;
}

/* copy8 copies 8 of the kernel's bytes. There is no call of bpf_probe_read_kernel, which a kernel that is locked down
 * to confidentiality refuses. */
static __always_inline void copy8(char *to, const char *from)
{
	*(__u64 *)to = *(const __u64 *)from;
}

/* sock_i_ino(), but that a socket of the kernel's own has none before Linux 6.18. */
static __always_inline __u32 inode_of(struct sock *sk)
{
	if (bpf_core_field_exists(sk->sk_ino))
		return sk->sk_ino;
	struct socket *socket = sk->sk_socket;
	struct file *file = socket ? socket->file : NULL;
	return file ? file->f_inode->i_ino : 0;
}

/* inet_diag_msg_common_fill() of net/ipv4/inet_diag.c */
static __always_inline void read_id(struct look *l, struct sock *sk, __u64 cookie)
{
	l->family = sk->__sk_common.skc_family;
	l->id.sport = __builtin_bswap16(sk->__sk_common.skc_num);
	l->id.dport = sk->__sk_common.skc_dport;
	l->id.interface = sk->__sk_common.skc_bound_dev_if;
	l->id.cookie[0] = cookie;
	l->id.cookie[1] = cookie >> 32;
	if (l->family != AF_INET6) {
		l->id.src[0] = sk->__sk_common.skc_rcv_saddr;
		l->id.dst[0] = sk->__sk_common.skc_daddr;
	} else if (bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
#pragma unroll
		for (int i = 0; i < 4; i++) {
			l->id.src[i] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[i];
			l->id.dst[i] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[i];
		}
	}
}

/* Which side opened the connection, as far as the socket proves it. */
enum opened { OPENED_UNKNOWN, OPENED_HERE, OPENED_BY_PEER };

/* opened_by reads what connect() and the handshake left in the socket, so no table is needed and a listener that has
 * closed since does not matter.
 *
 * The kernel marks a port that connect() chose: fastreuse of the port's bucket is negative as long as bind() took
 * part in none of its sockets (__inet_hash_connect() of net/ipv4/inet_hashtables.c).
 *
 * A listener's new socket stores the interface that the handshake came in by, where a datagram socket has its
 * multicast interface (tcp_v4_syn_recv_sock(), tcp_v6_syn_recv_sock()). No option of a stream socket sets that. The
 * bucket comes first: an accepted socket that its owner has disconnected and connected elsewhere keeps the interface. */
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

/* read_look reads what inet_sk_diag_fill(), tcp_diag_get_info() and tcp_get_info() do. The caller has set all of l
 * to zero. The tracepoint comes before the new state is stored, so state is not read. */
static __always_inline void read_look(struct look *l, struct tcp_sock *tp, int state, __u64 netns, __u64 cookie)
{
	struct inet_connection_sock *icsk = &tp->inet_conn;
	struct sock *sk = &icsk->icsk_inet.sk;
	__u32 now = bpf_jiffies64();
	__s32 unread = tp->rcv_nxt - tp->copied_seq;

	l->at = bpf_ktime_get_ns();
	l->netns = netns;
	l->state = state;
	l->bytes_acked = tp->bytes_acked;
	l->bytes_received = tp->bytes_received;
	l->rqueue = unread > 0 ? unread : 0;
	l->wqueue = tp->write_seq - tp->snd_una;
	l->segs_in = tp->segs_in;
	l->uid = sk->sk_uid.val;
	l->inode = inode_of(sk);
	l->since_ack = now - tp->rcv_tstamp;
	l->since_data = now - icsk->icsk_ack.lrcvtime;
	const struct tcp_ulp_ops *ulp = icsk->icsk_ulp_ops;
	if (ulp)
		copy8(l->ulp, ulp->name);
	read_id(l, sk, cookie);
	l->opened = opened_by(icsk, l->family);
}
