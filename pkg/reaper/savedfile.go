// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
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

// savedWriter writes the file. After an error it does nothing.
type savedWriter struct {
	out   io.Writer
	sum   hash.Hash32
	entry []byte
	err   error
}

// newSavedWriter returns a writer that has written the header.
func newSavedWriter(out io.Writer, boot string) *savedWriter {
	w := &savedWriter{out: out, sum: crc32.NewIEEE(), entry: make([]byte, 0, savedEntrySize)}
	w.write([]byte(savedMagic + boot))
	return w
}

func (w *savedWriter) write(b []byte) {
	if w.err == nil {
		_, _ = w.sum.Write(b) // a hash returns no error
		_, w.err = w.out.Write(b)
	}
}

// add writes an entry.
func (w *savedWriter) add(s savedCandidate) {
	w.entry = appendCandidate(w.entry[:0], s)
	w.write(w.entry)
}

// end writes the checksum.
func (w *savedWriter) end() error {
	w.write(binary.NativeEndian.AppendUint32(nil, w.sum.Sum32()))
	return w.err
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
	boot     string
	warnings *warnings
	writes   *writelog.Log
	turns    chan func()   // for the loop to run
	stopped  chan struct{} // closed once the loop runs no more turns
	busy     chan struct{} // a semaphore: full while a write is under way
	failed   atomic.Bool   // the last write
}

func newSaver(path, boot string, w *warnings, writes *writelog.Log) *saver {
	return &saver{
		path: path, boot: boot, warnings: w, writes: writes,
		turns: make(chan func()), stopped: make(chan struct{}), busy: make(chan struct{}, 1),
	}
}

// start starts to save the pieces, unless a write is under way. It runs begun before it returns. The pieces are encoded on the
// loop, in turns; writing, sync and rename happen in a goroutine, and then it runs the function that begun returned, whether
// the file could be written or not.
func (s *saver) start(pieces *savePieces, begun func() (saved func())) bool {
	select {
	case s.busy <- struct{}{}:
	default:
		return false
	}
	saved := begun()
	go func() {
		defer func() { <-s.busy }()
		f, err := s.write(pieces, s.onLoop)
		if errors.Is(err, errLoopStopped) {
			_ = f.Cleanup() // the last write follows
		} else {
			s.finish(f, err)
		}
		saved()
	}()
	return true
}

var errLoopStopped = errors.New("the loop has stopped")

// onLoop has the loop run a function.
func (s *saver) onLoop(run func()) error {
	done := make(chan struct{})
	select {
	case s.turns <- func() { run(); close(done) }:
		<-done
		return nil
	case <-s.stopped:
		return errLoopStopped
	}
}

// save saves the pieces before it returns. The loop has stopped.
func (s *saver) save(pieces *savePieces) {
	s.finish(s.write(pieces, func(run func()) error {
		run()
		return nil
	}))
}

// write writes a temporary file. It is buffered in pieces: the whole would be by far the largest object in memory.
func (s *saver) write(pieces *savePieces, turn func(func()) error) (*renameio.PendingFile, error) {
	f, err := renameio.NewPendingFile(s.path, renameio.WithPermissions(0o600))
	if err != nil {
		return nil, err
	}
	var piece bytes.Buffer
	w := newSavedWriter(&piece, s.boot)
	for more := true; more; {
		if err := turn(func() { more = pieces.next(w.add) }); err != nil {
			return f, err
		}
		if _, err := piece.WriteTo(f); err != nil {
			return f, err
		}
	}
	if err := turn(pieces.finish); err != nil {
		return f, err
	}
	err = w.end()
	_, writeErr := piece.WriteTo(f)
	return f, errors.Join(err, writeErr)
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

// stop waits for the write that is under way, if any. The loop runs no more turns.
func (s *saver) stop() {
	close(s.stopped)
	s.busy <- struct{}{}
	<-s.busy
}
