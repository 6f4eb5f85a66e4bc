// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package owners

import "context"

// Resolver finds the processes that own sockets: *Proc, or a cheaper way of the kernel.
type Resolver interface {
	// Find returns the owners of each socket that has any. Lists may share memory, so the caller must not change them.
	//
	// An *UnseenError means that some sockets may have an owner that is not visible. With any error Find returns the owners
	// that it has found. Find may be called concurrently, and returns soon after ctx is done.
	Find(ctx context.Context, q Query) (map[uint32][]Process, error)
}

var _ Resolver = (*Proc)(nil)
