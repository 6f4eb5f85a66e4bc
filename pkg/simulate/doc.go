// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package simulate estimates what another grace would have done. The reaper keeps a Track of each half-closed socket, and
// adds it to the Counts of its Key once the socket has ended. A Store keeps the counts by hour. Estimate reads them.
//
// An idle period is the time between two bytes of a socket, or from its start to its first byte, or from its last byte to
// its end. Bytes are noticed at looks only, so each period has a lower and an upper bound. A grace would have destroyed a
// socket with a period as long as the grace, and wrongly if a byte followed that period.
package simulate
