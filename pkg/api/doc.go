// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package api has the types that a reaper's HTTP API carries, and nothing else: server, client and commands share
// them, and none of them needs the reaper for it.
//
// It imports only the packages whose values the types hold (policy, state, inetdiag, owners, buildinfo).
package api

import "errors"

// ErrStopped is the error of a request to a reaper that is stopping or has stopped.
var ErrStopped = errors.New("the reaper is stopping")
