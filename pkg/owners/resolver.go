// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners

import "context"

// Resolver finds the processes that hold sockets: *Proc, and any cheaper way that a kernel has.
type Resolver interface {
	// Find returns the processes that hold each socket, for the sockets for which it finds any. Lists may
	// share memory, so the caller does not change them.
	//
	// An *UnseenError means that some sockets may have an owner that Find cannot see. Any error may come
	// with the owners found before it. Find may be called concurrently, and returns soon after ctx is done.
	Find(ctx context.Context, q Query) (map[uint32][]Process, error)
}

var _ Resolver = (*Proc)(nil)
