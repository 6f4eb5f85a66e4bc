// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package judgement tests which connections the reaper destroys. It runs the reaper as a separate process with each
// finder, on real sockets in its own network namespaces.
package judgement
