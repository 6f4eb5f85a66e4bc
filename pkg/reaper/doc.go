// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package reaper destroys the half-closed sockets of this node's attachments once their grace is over.
//
// One goroutine, the loop, owns everything that changes: which namespaces are registered, the candidates in them, the
// queues, the budget and the history. A finder reports sockets to it, an examiner looks at single sockets again and
// destroys them for it, and readers get copies.
package reaper
