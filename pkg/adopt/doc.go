// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package adopt registers containers that were running before halfclose was on the node, and network namespaces that CNI
// does not create.
//
// libcni keeps each attachment in a file, its result cache. An entry is adopted if it is proven that its container is the one
// that runs now: it was written in this boot, its network's configuration lists halfclose now, and the interface in the
// network namespace has an address or the MAC of the entry's result. Then the record of its ADD is written, if the
// attachment has none. An ADD at the same time wins, and DEL and GC remove the record as any other.
//
// The decisions (judge, select) are pure. Nothing in the cache blocks or fails a pass: a wrong entry is skipped, with a
// reason.
package adopt
