// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"github.com/google/renameio/v2"

	"github.com/halfclose/halfclose/internal/writelog"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/simulate"
)

// savedCandidate is a candidate in the file for the next reaper.
type savedCandidate struct {
	netns netns.Identity
	aged
}

// The file is a header (magic, boot id), entries of a fixed size and a CRC-32 of both, in native byte order: it is valid
// on this machine and for this boot only. Its times are of the initial time namespace, so the next reaper may run in
// another one. Earlier versions are not read.
const (
	savedMagic      = "halfclose candidates 5\n"
	savedEntrySize  = 3*8 + inetdiag.SizeofID + 6 + 8*8 + 4*8 + 4 + simulate.TrackSize
	savedHeaderSize = len(savedMagic) + bootIDSize
	bootIDSize      = 36 // of /proc/sys/kernel/random/boot_id without its newline
)

// appendCandidate appends an entry to b.
func appendCandidate(b []byte, s savedCandidate) []byte {
	order, h := binary.NativeEndian, &s.history
	b = order.AppendUint64(b, s.netns.Cookie)
	b = order.AppendUint64(b, s.netns.Dev)
	b = order.AppendUint64(b, s.netns.Inode)
	b, _ = h.ID.AppendBinary(b) // its error is always nil
	owned := byte(0)
	if h.Owned {
		owned = 1
	}
	b = append(b, byte(h.State), owned, byte(h.Role), h.Asks, h.AllAsks, byte(s.recorded))
	for _, t := range []monotime.Time{h.Since, h.Start, h.Progress, h.Last, h.Asked, h.PeerAlive} {
		b = order.AppendUint64(b, uint64(t))
	}
	b = order.AppendUint64(b, uint64(h.Frozen))
	b = order.AppendUint64(b, uint64(h.FrozenIdle))
	for _, n := range []uint64{h.Counters.Acked, h.Counters.Received, h.Counters.Written, h.Counters.Read} {
		b = order.AppendUint64(b, n)
	}
	b = order.AppendUint32(b, h.SegsIn)
	b, _ = s.idle.AppendBinary(b) // its error is always nil
	return b
}

// encodeCandidates writes the file.
func encodeCandidates(w io.Writer, boot string, candidates iter.Seq[savedCandidate]) error {
	sum := crc32.NewIEEE()
	both := io.MultiWriter(w, sum)
	if _, err := io.WriteString(both, savedMagic+boot); err != nil {
		return err
	}
	entry := make([]byte, 0, savedEntrySize)
	for s := range candidates {
		entry = appendCandidate(entry[:0], s)
		if _, err := both.Write(entry); err != nil {
			return err
		}
	}
	return binary.Write(w, binary.NativeEndian, sum.Sum32())
}

var errOtherBoot = errors.New("saved ages are of another boot")

// decodeCandidates parses the file. It skips entries with impossible values, and returns their number.
func decodeCandidates(b []byte, boot string, now monotime.Time) (all []savedCandidate, implausible int, err error) {
	if len(b) < savedHeaderSize+4 || (len(b)-savedHeaderSize-4)%savedEntrySize != 0 || string(b[:len(savedMagic)]) != savedMagic {
		return nil, 0, errors.New("saved ages: not a file of this version")
	}
	body, sum := b[:len(b)-4], binary.NativeEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return nil, 0, errors.New("saved ages: checksum does not match")
	}
	if string(body[len(savedMagic):savedHeaderSize]) != boot {
		return nil, 0, errOtherBoot
	}
	all = make([]savedCandidate, 0, (len(body)-savedHeaderSize)/savedEntrySize)
	for e := body[savedHeaderSize:]; len(e) > 0; e = e[savedEntrySize:] {
		s, err := decodeCandidate(e[:savedEntrySize])
		if err != nil || !isPlausible(s.history, now) {
			implausible++
			continue
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, implausible, nil
	}
	return all, implausible, nil
}

// isPlausible reports whether an earlier reaper can have saved the history: every time is between boot and now, no look is
// earlier than the half-close, and the frozen time is not longer than the time since.
func isPlausible(h policy.History, now monotime.Time) bool {
	for _, t := range []monotime.Time{h.Progress, h.Asked, h.PeerAlive} {
		if t < 0 || now < t {
			return false
		}
	}
	return h.Since > 0 && h.Since <= h.Start && h.Start <= h.Last && h.Last <= now &&
		0 <= h.FrozenIdle && h.FrozenIdle <= h.Frozen && h.Frozen <= now.Sub(h.Since) && h.Role <= policy.RoleServer
}

// The bounds of the file, for the reaper that writes it and for the one that reads it.
const (
	maxSavedCandidates = 1 << 20
	maxSavedBytes      = savedHeaderSize + maxSavedCandidates*savedEntrySize + 4
)

func decodeCandidate(e []byte) (s savedCandidate, err error) {
	order, h := binary.NativeEndian, &s.history
	u64 := func() uint64 {
		v := order.Uint64(e)
		e = e[8:]
		return v
	}
	s.netns = netns.Identity{Cookie: u64(), Dev: u64(), Inode: u64()}
	if err := h.ID.UnmarshalBinary(e[:inetdiag.SizeofID]); err != nil {
		return s, fmt.Errorf("saved ages: %w", err)
	}
	e = e[inetdiag.SizeofID:]
	h.State, h.Owned, h.Role, h.Asks, h.AllAsks = inetdiag.State(e[0]), e[1] == 1, policy.Role(e[2]), e[3], e[4]
	s.recorded = recorded(e[5])
	e = e[6:]
	for _, t := range []*monotime.Time{&h.Since, &h.Start, &h.Progress, &h.Last, &h.Asked, &h.PeerAlive} {
		*t = monotime.Time(u64())
	}
	h.Frozen, h.FrozenIdle = time.Duration(u64()), time.Duration(u64())
	h.Counters = policy.Counters{Acked: u64(), Received: u64(), Written: u64(), Read: u64()}
	h.SegsIn = order.Uint32(e)
	return s, s.idle.UnmarshalBinary(e[4:])
}

// saver writes the candidates' file without blocking the loop, one write at a time.
type saver struct {
	path     string
	warnings *warnings
	writes   *writelog.Log
	busy     chan struct{} // a semaphore: full while a write is under way
	failed   atomic.Bool   // the last write
}

func newSaver(path string, w *warnings, writes *writelog.Log) *saver {
	return &saver{path: path, warnings: w, writes: writes, busy: make(chan struct{}, 1)}
}

// start starts to save the output of encode, unless a write is under way. It runs encode and begun before it
// returns; sync and rename follow in a goroutine, and then the function that begun returned, whether the file could be written
// or not.
func (s *saver) start(encode func(io.Writer) error, begun func() (saved func())) bool {
	select {
	case s.busy <- struct{}{}:
	default:
		return false
	}
	f, err := s.write(encode)
	saved := begun()
	go func() {
		defer func() { <-s.busy }()
		s.finish(f, err)
		saved()
	}()
	return true
}

// save saves the output of encode before it returns.
func (s *saver) save(encode func(io.Writer) error) {
	s.finish(s.write(encode))
}

// write writes a temporary file. It is buffered in pieces: the whole would be by far the largest object in memory.
func (s *saver) write(encode func(io.Writer) error) (*renameio.PendingFile, error) {
	f, err := renameio.NewPendingFile(s.path, renameio.WithPermissions(0o600))
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	return f, errors.Join(encode(w), w.Flush())
}

func (s *saver) finish(f *renameio.PendingFile, err error) {
	if err == nil {
		err = f.CloseAtomicallyReplace()
	}
	if f != nil {
		err = errors.Join(err, f.Cleanup())
	}
	s.failed.Store(err != nil)
	s.writes.Report(api.UnwritableCandidates, s.path, err, time.Now())
	if err != nil {
		s.warnings.warn(WarnSavedAges, "cannot save ages: after a restart ages restart from tcp_info", "error", err)
	}
}

// wait waits for the write that is under way, if any.
func (s *saver) wait() {
	s.busy <- struct{}{}
	<-s.busy
}
