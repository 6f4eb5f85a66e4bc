// Copyright The halfclose Authors
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/* Compares sockets with what was judged and destroys them, under the lock of each socket (Linux 6.5). An experiment:
 * docs/decisions/2026-11-30-bpf-sock-destroy.md. */

#include <linux/bpf.h>

#include "snapshot.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What was judged, and the result. */
struct judged {
	__u64 netns;
	__u64 bytes_acked;
	__u64 bytes_received;
	__u32 rqueue;
	__u32 wqueue;
	__u32 state;
	__s32 result; /* of bpf_sock_destroy(); NOT_FOUND or CHANGED without a call */
};

enum { NOT_FOUND = 1, CHANGED = 2 };

/* The sockets to destroy, by cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct judged);
} due SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
	unsigned int uid;
};

#pragma clang attribute pop

extern int bpf_sock_destroy(struct sock_common *sock) __ksym;

/* The iterator visits the sockets of the network namespace in which it was opened, and holds the lock of each. */
SEC("iter/tcp")
int compare(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	if (!skc || !half_closed(skc->skc_state))
		return 0;
	__u64 cookie = skc->skc_cookie.counter;
	struct judged *j = bpf_map_lookup_elem(&due, &cookie);
	if (!j)
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	__s32 unread = tp->rcv_nxt - tp->copied_seq;
	if (unread < 0)
		unread = 0;
	if (skc->skc_net.net->net_cookie != j->netns || skc->skc_state != j->state || tp->bytes_acked != j->bytes_acked ||
	    tp->bytes_received != j->bytes_received || unread != j->rqueue || tp->write_seq - tp->snd_una != j->wqueue) {
		j->result = CHANGED;
		return 0;
	}
	j->result = bpf_sock_destroy(skc);
	return 0;
}

/* bpf2go generates Go types only for types that a variable uses. */
const struct judged *unused __attribute__((unused));
