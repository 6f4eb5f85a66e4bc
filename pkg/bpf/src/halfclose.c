// Copyright The halfclose Authors
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

#include <linux/bpf.h>

#include "look.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The network namespaces to look at, by cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u8);
} watched SEC(".maps");

/* The sockets that are half-closed now, by cookie. Preallocated: allocation fails in a burst. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct look);
} sockets SEC(".maps");

/* How often a socket found no room in the set, or was kept out of it or in it by something else. */
__u64 overflow, lost;

/* What the iterators write: a descriptor of a process that leads to a socket. */
struct holder {
	__u32 pid;
	__u32 fd;
	char command[16];
	__u32 inode;
	__u32 tid; /* whose descriptor table it is: not pid's where a thread has its own, or the main thread has exited */
};

struct holding {
	struct holder holder;
	struct look look;
};

/* Go's types are made of what a variable has. */
const struct holding *unused __attribute__((unused));

static __always_inline int is_watched(__u64 netns)
{
	return bpf_map_lookup_elem(&watched, &netns) != NULL;
}

/* What is called returns an int on kernels before 6.4, whatever the helper says: the upper half is anything. */
static __always_inline void put(__u64 cookie, struct look *l, __u64 flags)
{
	switch ((int)bpf_map_update_elem(&sockets, &cookie, l, flags)) {
	case 0:
	case -17: /* EEXIST: the walk found what was there */
		break;
	case -7: /* E2BIG */
		__sync_fetch_and_add(&overflow, 1);
		break;
	default:
		__sync_fetch_and_add(&lost, 1);
	}
}

static __always_inline void drop(__u64 cookie)
{
	switch ((int)bpf_map_delete_elem(&sockets, &cookie)) {
	case 0:
	case -2: /* ENOENT */
		break;
	default:
		__sync_fetch_and_add(&lost, 1);
	}
}

/* Called before the new state is stored, for sockets of every protocol that is like TCP. It is called for FIN_WAIT2
 * in FIN_WAIT2 too: then its owner closes it, and it is the kernel's to end. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_change, struct sock *sk, int from, int to)
{
	if ((!half_closed(from) && !half_closed(to)) || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (!half_closed(to) || from == to) {
		/* What has no cookie yet was never put into the set. */
		__u64 cookie = sk->__sk_common.skc_cookie.counter;
		if (cookie)
			drop(cookie);
		return 0;
	}
	__u64 netns = sk->__sk_common.skc_net.net->net_cookie;
	if (sk->__sk_common.skc_flags & (1UL << SOCK_DEAD) || !is_watched(netns))
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	struct look l = {};
	__u64 cookie = bpf_get_socket_cookie(sk);
	read_look(&l, tp, to, netns, cookie);
	l.entered = l.at;
	put(cookie, &l, BPF_ANY);
	return 0;
}

static __always_inline struct sock *socket_of(struct file *file)
{
	struct socket *socket = bpf_sock_from_file(file);
	return socket ? socket->sk : NULL;
}

static __always_inline void read_holder(struct holder *h, struct task_struct *task, __u32 fd, struct sock *sk)
{
	h->pid = task->tgid;
	h->tid = task->pid;
	h->fd = fd;
	h->inode = inode_of(sk);
	copy8(h->command, task->group_leader->comm);
	copy8(h->command + 8, task->group_leader->comm + 8);
}

/* Lists the half-closed sockets of watched namespaces that processes hold. */
SEC("iter/task_file")
int walk(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock *sk = task && file ? socket_of(file) : NULL;
	if (!sk || !half_closed(sk->__sk_common.skc_state))
		return 0;
	__u64 netns = sk->__sk_common.skc_net.net->net_cookie;
	if (!is_watched(netns))
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	int state = sk->__sk_common.skc_state;
	if (!half_closed(state))
		return 0;
	struct holding h = {};
	__u64 cookie = bpf_get_socket_cookie(sk);
	read_holder(&h.holder, task, ctx->fd, sk);
	read_look(&h.look, tp, state, netns, cookie);
	if (!bpf_map_lookup_elem(&sockets, &cookie)) {
		put(cookie, &h.look, BPF_NOEXIST);
		/* It may have left before it was put in: then nobody else will take it out. What is too quick even
		 * for this is left to who reads the set. */
		if (!half_closed(sk->__sk_common.skc_state))
			drop(cookie);
	}
	bpf_seq_write(ctx->meta->seq, &h, sizeof(h));
	return 0;
}

/* Lists the TCP sockets that processes hold. */
SEC("iter/task_file")
int holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock *sk = task && file ? socket_of(file) : NULL;
	if (!sk || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	struct holder h = {};
	read_holder(&h, task, ctx->fd, sk);
	bpf_seq_write(ctx->meta->seq, &h, sizeof(h));
	return 0;
}
