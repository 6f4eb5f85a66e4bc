// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package census reads the records of a node, classifies them, and reports which network namespaces have changed.
//
// Nothing is read again that has not changed: a change of the directory costs the changed files, and an Update has the changed
// network namespaces. Twice a minute it reads the directory's names and the files' times, and looks where each path leads, since
// a network namespace may be deleted without a DEL.
package census
