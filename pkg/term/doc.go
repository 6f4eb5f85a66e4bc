// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package term formats text for a terminal: it escapes what does not print, measures columns, breaks lines, and draws
// tables and styles. Names come from pods and may hold any byte: pass text through Clean before any other function here.
package term
