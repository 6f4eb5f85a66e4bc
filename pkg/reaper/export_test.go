// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// The layout of the file of saved candidates, for tests that damage it.
const (
	SavedBootID = len(savedMagic)
	SavedHeader = savedHeaderSize
	SavedEntry  = savedEntrySize
	SavedSince  = 3*8 + inetdiag.SizeofID + 6 // in an entry
	SavedLast   = SavedSince + 3*8
)

// SealSaved corrects the checksum of a changed file of saved candidates.
func SealSaved(b []byte) []byte {
	body := b[:len(b)-4]
	return binary.NativeEndian.AppendUint32(body, crc32.ChecksumIEEE(body))
}

// LayersOf returns layers that resolve to the policy.
func LayersOf(p policy.Policy) policy.Layers {
	return policy.Layers{Network: p.Layer(policy.SourceNetwork)}
}

// SaveEvery sets the interval at which the reaper saves its candidates. It must not run yet.
func (r *Reaper) SaveEvery(d time.Duration) { r.save = d }

// SaveIdleTimesEvery sets the interval at which the reaper saves the idle times. It must not run yet.
func (r *Reaper) SaveIdleTimesEvery(d time.Duration) { r.idleInterval = d }

// ProbeEvery sets the interval at which the reaper tries to write in its directories. It must not run yet.
func (r *Reaper) ProbeEvery(d time.Duration) { r.probe = d }

// Conn is the connection that an examiner uses for single sockets.
type Conn = conn

// WrapConns makes the reaper use wrap's result in place of each Conn. It must not run yet.
func (r *Reaper) WrapConns(wrap func(Conn) Conn) {
	open := r.open
	r.open = func(n finder.Netns) (conn, error) {
		c, err := open(n)
		if err != nil {
			return nil, err
		}
		return wrap(c), nil
	}
}
