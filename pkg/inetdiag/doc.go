// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package inetdiag speaks sock_diag, Linux's netlink protocol about sockets (sock_diag(7)), for TCP.
//
// A [Conn] is one netlink socket in one network namespace. [Conn.Dump] lists sockets, [Conn.Lookup] asks for
// one of them again, [Conn.Destroy] aborts one as SOCK_DESTROY does (CONFIG_INET_DIAG_DESTROY, Linux 4.5):
// the owner of the socket gets ECONNABORTED, the peer gets a reset, and no TIME_WAIT is left behind.
// LookupAll and DestroyAll do the same for many at a time. The answer to every request is read.
//
// # Identity
//
// A socket is named by an [ID], which carries the socket's cookie, and look-ups and destroys always send the
// cookie. One that is out of date answers [ErrGone] and touches nothing, also when another socket has taken
// over the addresses and ports. An ID without a cookie is refused ([ErrBadID]): nothing is ever destroyed by
// its addresses alone. Yet a cookie names a socket, not a connection and not a state: after
// connect(AF_UNSPEC) and another connect() the same socket is a new connection, and between a look and a
// destroy its state may change. Look and destroy back to back.
//
// # A dump is no snapshot
//
// The kernel walks its hash tables a piece at a time while sockets come and go: a dump may miss a socket
// that was there all the time, and may report one twice. Dump drops the repeats, by cookie. What a dump did
// not show is not therefore gone: ask with Lookup.
//
// # Namespaces and privileges
//
// [Open] opens its socket in the network namespace of the calling thread; from then on the Conn belongs to
// that namespace, whatever thread uses it, and keeps the namespace alive until it is closed. Dumps and
// look-ups need no privilege, except that older kernels tell [Socket.ULP] only to holders of CAP_NET_ADMIN.
// Destroying needs CAP_NET_ADMIN in the user namespace that owns the network namespace.
package inetdiag
