// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package history keeps on disk which sockets were destroyed or closed, readable without a reaper.
//
// The store is a directory of segments: files of up to 8 MiB with one JSON object a line (NDJSON). A Writer appends lines
// from a goroutine of its own and never blocks its callers; a Reader lists them by time, oldest or newest first. Segments
// are removed after 14 days, or once all of them exceed 256 MiB, the oldest first.
//
// A line is written within milliseconds, so a killed process loses only the lines that wait in its queue. The segment is
// synced at most 30 s after a line was written, so a power failure loses at most those 30 s. A line that was cut is skipped.
package history
