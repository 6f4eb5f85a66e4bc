// Copyright The halfclose Authors
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

#include <linux/bpf.h>

#include "snapshot.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The network namespaces whose sockets the programs report, by cookie, with the number of their sockets in the set. The
 * number is wrong by the sockets that user space has removed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} watched SEC(".maps");

/* How many sockets did not fit into the set, by the network namespace's cookie. User space empties it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} refused SEC(".maps");

/* The half-closed sockets, by cookie. Preallocated, because allocation can fail in a burst. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct snapshot);
} sockets SEC(".maps");

/* overflow counts sockets that did not fit into the set. lost counts other failures to insert or delete. */
__u64 overflow, lost;

/* The number of sockets in the set is added - removed - forgotten. The programs write the first two, user space the third. */
__u64 added, removed, forgotten;

/* The capacity of the set. The loader sets it. */
const volatile __u64 capacity = 0;

/* A network namespace may have NETNS_SHARE times as many sockets in the set as the set has room for more. So one that has
 * too many gets NETNS_SHARE / (NETNS_SHARE + 1) of the set, and however many do, each of the others finds room. */
enum { NETNS_SHARE = 4 };

/* The output of the iterators: a file descriptor of a process that refers to a TCP socket. */
struct descriptor {
	__u32 pid;
	__u32 fd;
	char command[16];
	__u32 inode;
	__u32 tid; /* owner of the descriptor table: differs from pid if a thread has its own or the main thread has exited */
};

struct owned_socket {
	struct descriptor descriptor;
	struct snapshot snapshot;
};

/* bpf2go generates Go types only for types that a variable uses. */
const struct owned_socket *unused __attribute__((unused));

static __always_inline void refuse(__u64 netns)
{
	__u64 one = 1;
	__u64 *count = bpf_map_lookup_elem(&refused, &netns);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&refused, &netns, &one, BPF_ANY);
	__sync_fetch_and_add(&overflow, 1);
}

/* put inserts a socket. count is the network namespace's value in watched. If the set has the socket, it is
 * replaced if replace is not 0.
 *
 * Before Linux 6.4 the map's function returns an int, although the helper is declared with long: the upper 32 bits are
 * undefined. */
static __always_inline void put(__u64 *count, __u64 cookie, struct snapshot *s, int replace)
{
	__s64 room = capacity - (added - removed - forgotten);
	if (room <= 0 || (__s64)*count > NETNS_SHARE * room) {
		refuse(s->netns);
		return;
	}
	switch ((int)bpf_map_update_elem(&sockets, &cookie, s, BPF_NOEXIST)) {
	case 0:
		__sync_fetch_and_add(count, 1);
		__sync_fetch_and_add(&added, 1);
		break;
	case -17: /* EEXIST */
		if (replace && (int)bpf_map_update_elem(&sockets, &cookie, s, BPF_EXIST))
			__sync_fetch_and_add(&lost, 1);
		break;
	case -7: /* E2BIG */
		refuse(s->netns);
		break;
	default:
		__sync_fetch_and_add(&lost, 1);
	}
}

static __always_inline void drop(__u64 netns, __u64 cookie)
{
	__u64 *count;

	switch ((int)bpf_map_delete_elem(&sockets, &cookie)) {
	case 0:
		__sync_fetch_and_add(&removed, 1);
		count = bpf_map_lookup_elem(&watched, &netns);
		if (count)
			__sync_fetch_and_add(count, -1);
		break;
	case -2: /* ENOENT */
		break;
	default:
		__sync_fetch_and_add(&lost, 1);
	}
}

/* The tracepoint fires before the new state is stored, and for other protocols than TCP too. It fires from FIN_WAIT2 to
 * FIN_WAIT2 when the owner closes the socket: from then on the kernel times the socket out (tcp_fin_timeout). */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, struct sock *sk, int from, int to)
{
	if ((!half_closed(from) && !half_closed(to)) || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	__u64 netns = sk->__sk_common.skc_net.net->net_cookie;
	if (!half_closed(to) || from == to) {
		/* A socket without a cookie was never in the set. */
		__u64 cookie = sk->__sk_common.skc_cookie.counter;
		if (cookie)
			drop(netns, cookie);
		return 0;
	}
	__u64 *count = bpf_map_lookup_elem(&watched, &netns);
	if (sk->__sk_common.skc_flags & (1UL << SOCK_DEAD) || !count)
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	struct snapshot s = {};
	__u64 cookie = bpf_get_socket_cookie(sk);
	read_snapshot(&s, tp, to, netns, cookie);
	s.entered = s.at;
	put(count, cookie, &s, 1);
	return 0;
}

static __always_inline struct sock *socket_of(struct file *file)
{
	struct socket *socket = bpf_sock_from_file(file);
	return socket ? socket->sk : NULL;
}

static __always_inline void read_descriptor(struct descriptor *d, struct task_struct *task, __u32 fd, struct sock *sk)
{
	d->pid = task->tgid;
	d->tid = task->pid;
	d->fd = fd;
	d->inode = inode_of(sk);
	copy8(d->command, task->group_leader->comm);
	copy8(d->command + 8, task->group_leader->comm + 8);
}

/* Lists the descriptors that refer to half-closed sockets of watched namespaces, and adds missing sockets to the set. */
SEC("iter/task_file")
int walk(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock *sk = task && file ? socket_of(file) : NULL;
	if (!sk || !half_closed(sk->__sk_common.skc_state))
		return 0;
	__u64 netns = sk->__sk_common.skc_net.net->net_cookie;
	__u64 *count = bpf_map_lookup_elem(&watched, &netns);
	if (!count)
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	int state = sk->__sk_common.skc_state;
	if (!half_closed(state))
		return 0;
	struct owned_socket o = {};
	__u64 cookie = bpf_get_socket_cookie(sk);
	read_descriptor(&o.descriptor, task, ctx->fd, sk);
	read_snapshot(&o.snapshot, tp, state, netns, cookie);
	if (!bpf_map_lookup_elem(&sockets, &cookie)) {
		put(count, cookie, &o.snapshot, 0);
		/* If the socket has left the state before it was inserted, state_change does not delete it. A change after
		 * this check is still missed: an audit in user space removes such an entry. */
		if (!half_closed(sk->__sk_common.skc_state))
			drop(netns, cookie);
	}
	bpf_seq_write(ctx->meta->seq, &o, sizeof(o));
	return 0;
}

/* Lists the descriptors that refer to TCP sockets. */
SEC("iter/task_file")
int descriptors(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock *sk = task && file ? socket_of(file) : NULL;
	if (!sk || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	struct descriptor d = {};
	read_descriptor(&d, task, ctx->fd, sk);
	bpf_seq_write(ctx->meta->seq, &d, sizeof(d));
	return 0;
}
