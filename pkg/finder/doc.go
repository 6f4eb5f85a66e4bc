// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package finder finds the half-closed sockets of a node's registered network namespaces.
//
// A Finder receives the set of network namespaces and reports to a Sink. Its reports need be neither complete
// nor current. The user of a finder looks each socket up before it acts on it, and looks up a socket that
// sweeps no longer show before it forgets it. A finder never destroys a socket and changes nothing on one.
//
// There are two finders: SockDiag for any kernel with sock_diag, and BPF, which costs less and falls back to
// the sweeps of SockDiag where its programs cannot do their work. Select returns one of them. Fake and Wrapped
// are for tests of the user.
//
// # Privileges
//
// Sweeping needs CAP_SYS_ADMIN to enter network namespaces. The BPF programs need CAP_BPF and CAP_PERFMON, or
// CAP_SYS_ADMIN; /proc shows which network namespaces have processes only with CAP_SYS_PTRACE.
package finder
