// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics writes what a reaper counts and measures in Prometheus' text exposition format, version 0.0.4.
//
// The format is described at https://prometheus.io/docs/instrumenting/exposition_formats/. Prometheus' own
// library is what the tests read it with; in the binary it would cost every CNI call its initialisation.
package metrics
