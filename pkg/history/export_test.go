// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history

// Skipped returns the number of lines that the iterations skipped.
func (r *Reader) Skipped() int { return r.skipped }
