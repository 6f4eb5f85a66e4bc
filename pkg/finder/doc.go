// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package finder finds the half-closed sockets of a node's registered network namespaces.
package finder
