// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package term formats text for a terminal: it measures columns, breaks lines, and draws tables and styles. Names come from
// pods and may hold any byte: pass text through safetext.Escape before any function here. Table escapes its cells.
package term
