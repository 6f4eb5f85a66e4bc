// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
)

// savedCandidate is a candidate as it is kept on disk for the next reaper.
type savedCandidate struct {
	netns   netns.Identity
	history policy.History
}

// The file is a header (magic, boot id), fixed-size entries and a CRC-32 of all before it, in the byte
// order of the machine: it means nothing on another one, nor after a boot. Its times are of the initial time
// namespace, so the next reaper may run in another one. Version 1 had the times of the reaper's own and
// did not say which: its ages are not trusted.
const (
	savedMagic  = "halfclose candidates 3\n"
	savedEntry  = 3*8 + inetdiag.SizeofID + 5 + 8*8 + 4*8 + 4
	savedHeader = len(savedMagic) + bootIDLength
	// bootIDLength is that of /proc/sys/kernel/random/boot_id without its newline.
	bootIDLength = 36
)

// appendCandidate appends one entry to b.
func appendCandidate(b []byte, s savedCandidate) []byte {
	le, h := binary.NativeEndian, &s.history
	b = le.AppendUint64(b, s.netns.Cookie)
	b = le.AppendUint64(b, s.netns.Dev)
	b = le.AppendUint64(b, s.netns.Inode)
	b, _ = h.ID.AppendBinary(b) // never fails
	owned := byte(0)
	if h.Owned {
		owned = 1
	}
	b = append(b, byte(h.State), owned, byte(h.Role), h.Asks, h.AllAsks)
	for _, t := range []monotime.Time{h.Since, h.Start, h.Progress, h.Last, h.Asked, h.PeerAlive} {
		b = le.AppendUint64(b, uint64(t))
	}
	b = le.AppendUint64(b, uint64(h.Frozen))
	b = le.AppendUint64(b, uint64(h.FrozenIdle))
	for _, n := range []uint64{h.Counters.Acked, h.Counters.Received, h.Counters.Written, h.Counters.Read} {
		b = le.AppendUint64(b, n)
	}
	return le.AppendUint32(b, h.SegsIn)
}

// encodeCandidates writes the whole file.
func encodeCandidates(w io.Writer, boot string, candidates iter.Seq[savedCandidate]) error {
	sum := crc32.NewIEEE()
	both := io.MultiWriter(w, sum)
	if _, err := io.WriteString(both, savedMagic+boot); err != nil {
		return err
	}
	entry := make([]byte, 0, savedEntry)
	for s := range candidates {
		entry = appendCandidate(entry[:0], s)
		if _, err := both.Write(entry); err != nil {
			return err
		}
	}
	return binary.Write(w, binary.NativeEndian, sum.Sum32())
}

var errOtherBoot = errors.New("saved candidates are of another boot")

// decodeCandidates reads the file. An entry whose times cannot be is left out and counted.
func decodeCandidates(b []byte, boot string, now monotime.Time) (all []savedCandidate, implausible int, err error) {
	if len(b) < savedHeader+4 || (len(b)-savedHeader-4)%savedEntry != 0 || string(b[:len(savedMagic)]) != savedMagic {
		return nil, 0, errors.New("saved candidates: not a file of this version")
	}
	body, sum := b[:len(b)-4], binary.NativeEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return nil, 0, errors.New("saved candidates: checksum does not match")
	}
	if string(body[len(savedMagic):savedHeader]) != boot {
		return nil, 0, errOtherBoot
	}
	for e := body[savedHeader:]; len(e) > 0; e = e[savedEntry:] {
		s, err := decodeCandidate(e[:savedEntry])
		if err != nil || !plausible(s.history, now) {
			implausible++
			continue
		}
		all = append(all, s)
	}
	return all, implausible, nil
}

// plausible reports whether a history is such as an earlier reaper can have saved: no time is before boot or to come, a
// socket was not looked at before it became half-closed, and was not frozen for longer than it was that.
func plausible(h policy.History, now monotime.Time) bool {
	for _, t := range []monotime.Time{h.Progress, h.Asked, h.PeerAlive} {
		if t < 0 || now < t {
			return false
		}
	}
	return h.Since > 0 && h.Since <= h.Start && h.Start <= h.Last && h.Last <= now &&
		0 <= h.FrozenIdle && h.FrozenIdle <= h.Frozen && h.Frozen <= now.Sub(h.Since) && h.Role <= policy.RoleServer
}

// maxSaved bounds what is read: some 600,000 candidates.
const maxSaved = 128 << 20

func decodeCandidate(e []byte) (s savedCandidate, err error) {
	le, h := binary.NativeEndian, &s.history
	u64 := func() uint64 {
		v := le.Uint64(e)
		e = e[8:]
		return v
	}
	s.netns = netns.Identity{Cookie: u64(), Dev: u64(), Inode: u64()}
	if err := h.ID.UnmarshalBinary(e[:inetdiag.SizeofID]); err != nil {
		return s, fmt.Errorf("saved candidates: %w", err)
	}
	e = e[inetdiag.SizeofID:]
	h.State, h.Owned, h.Role, h.Asks, h.AllAsks = inetdiag.State(e[0]), e[1] == 1, policy.Role(e[2]), e[3], e[4]
	e = e[5:]
	for _, t := range []*monotime.Time{&h.Since, &h.Start, &h.Progress, &h.Last, &h.Asked, &h.PeerAlive} {
		*t = monotime.Time(u64())
	}
	h.Frozen, h.FrozenIdle = time.Duration(u64()), time.Duration(u64())
	h.Counters = policy.Counters{Acked: u64(), Received: u64(), Written: u64(), Read: u64()}
	h.SegsIn = le.Uint32(e)
	return s, nil
}
