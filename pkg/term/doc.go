// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package term is text for a terminal: safe to show, measured in columns, broken into lines, in tables and in styles.
// Names come from pods and may hold anything: text goes through Clean before any other function here gets it.
package term
