// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package world is the node's namespaces, processes and connections in the torture test: it carries out a plan, and
// records for the model what really happened and when.
package world
