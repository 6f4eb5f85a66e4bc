// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package inetdiag lists, looks up and destroys TCP sockets by sock_diag, Linux's netlink protocol for sockets
// (sock_diag(7)).
//
// A [Conn] is one netlink socket in one network namespace. [Conn.Dump] lists sockets, [Conn.Lookup] reads one socket,
// [Conn.Destroy] aborts one (SOCK_DESTROY: CONFIG_INET_DIAG_DESTROY, Linux 4.5): the owner of the socket gets
// ECONNABORTED, the peer gets a reset, and no TIME_WAIT remains. LookupAll and DestroyAll do the same for many sockets.
// The Conn reads the answer to every request.
//
// # Identity
//
// An [ID] names a socket. It includes the socket's cookie, which every lookup and destroy sends. If the cookie is out of
// date the answer is [ErrGone] and nothing happens, even if another socket has the same addresses and ports now. An ID
// without a cookie is refused ([ErrBadID]): no socket is ever destroyed by its addresses alone.
//
// A cookie names a socket, but neither its connection nor its state: after connect(AF_UNSPEC) and another connect() the
// same socket has a new connection, and its state may change between a lookup and a destroy. Destroy a socket right after
// its lookup.
//
// # A dump is no snapshot
//
// The kernel walks its hash table piece by piece while sockets are created and closed. A dump can miss a socket that exists
// all the time, and can repeat one. Dump drops repeats, by cookie. A socket that a dump does not report may still exist:
// use Lookup.
//
// # Namespaces and privileges
//
// [Open] opens a socket in the network namespace of the calling thread. The Conn belongs to that namespace, on whatever
// thread it is used, and pins it until it is closed. Dumps and lookups need no privilege, except that [Socket.ULP] needs
// CAP_NET_ADMIN before Linux 6.18. Destroying needs CAP_NET_ADMIN in the user namespace that owns the network namespace.
package inetdiag
