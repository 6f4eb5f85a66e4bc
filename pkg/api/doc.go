// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package api has the types of a reaper's HTTP API, which server, client and commands share.
//
// It imports only the packages whose values the types hold (policy, state, inetdiag, owners, buildinfo).
package api

import "errors"

// ErrStopped is the error of a request to a reaper that is stopping or has stopped.
var ErrStopped = errors.New("the reaper is stopping")
