// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics exposes the metrics of a reaper and of its process in Prometheus' text format.
package metrics
