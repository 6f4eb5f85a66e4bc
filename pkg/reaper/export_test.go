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

// What tests that damage the file of saved candidates need to know of it.
const (
	SavedBootID = len(savedMagic)
	SavedHeader = savedHeaderSize
	SavedEntry  = savedEntrySize
	SavedSince  = 3*8 + inetdiag.SizeofID + 5 // in an entry
	SavedLast   = SavedSince + 3*8
)

// SealSaved makes the checksum of a file of saved candidates right again.
func SealSaved(b []byte) []byte {
	body := b[:len(b)-4]
	return binary.NativeEndian.AppendUint32(body, crc32.ChecksumIEEE(body))
}

// LayersOf returns layers that resolve to the policy.
func LayersOf(p policy.Policy) policy.Layers {
	return policy.Layers{Network: p.Layer(policy.SourceNetwork)}
}

// SaveEvery has the reaper, which does not run yet, save its candidates so often.
func (r *Reaper) SaveEvery(d time.Duration) { r.save = d }

// Conn is what an examiner looks at single sockets through.
type Conn = conn

// WrapConns has the reaper, which does not run yet, use what wrap returns of each Conn.
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
