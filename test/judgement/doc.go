// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package judgement holds tests that claim what becomes of which connection: they run the reaper as a process of its own, over
// real sockets in network namespaces of the tests' own, with each finder.
package judgement
