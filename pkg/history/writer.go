// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/state"
)

// The bounds of a store.
const (
	MaxSegmentBytes = 8 << 20
	MaxBytes        = 256 << 20
	MaxAge          = 14 * 24 * time.Hour
)

const (
	maxSegments    = 1024 // a clock that is often set back starts many small segments
	defaultQueue   = 4096 // lines
	maxBatch       = 256 << 10
	syncInterval   = 30 * time.Second
	retryInterval  = time.Second
	expireInterval = 10 * time.Minute
	dirPerm        = 0o700
	filePerm       = 0o600
)

// WriterConfig is the configuration of a Writer. Dir, Run and Clock are required; a bound that is 0 has its default.
type WriterConfig struct {
	Dir string // see Dir
	// Run identifies this reaper in its lines: up to 64 ASCII characters without quotes, backslashes and control characters.
	Run   string
	Clock monotime.Clock
	// Report is called with the outcome of each write: nil is success; nil ignores it. Only Run calls it.
	Report func(err error)
	// Warn logs a problem of the store once, when it begins; nil logs none. Only Run calls it.
	Warn func(text string, args ...any)

	SegmentBytes, Bytes int64
	Age                 time.Duration
	Queue               int // lines that may wait to be written
}

// Writer appends lines to the history. Append and Stats are safe for concurrent use, and wait neither for the disk nor for
// Run. While lines cannot be written they wait in the queue; once it is full further lines are lost, and counted.
type Writer struct {
	cfg   WriterConfig
	queue chan queuedLine
	done  chan struct{}

	mu    sync.Mutex
	stats Stats
	loss  Loss // not written yet

	// Run's alone.
	file     *os.File
	name     string
	size     int64
	last     time.Time // the latest time in the file
	unsynced bool
	batch    []byte    // encoded, not written
	lines    int       // in batch
	first    time.Time // of the first line in batch
	held     *queuedLine
	listed   bool // the store was opened once
	offset   time.Duration
}

type queuedLine struct {
	kind  Kind
	at    time.Time
	value any
}

// Stats is the state of a store.
type Stats struct {
	Dir      string
	Segments int
	Bytes    int64
	Oldest   time.Time // of the oldest segment; zero without one
	Written  uint64    // lines, by this Writer
	Waiting  int       // lines that are not written yet
	Lost     uint64    // lines that were not written
	// Problem is why lines cannot be written now, "" if they can.
	Problem string
	// Damage describes the segments that this Writer found empty, cut or damaged, "" without one.
	Damage string
}

// NewWriter returns a writer. It does not access the directory: Run does, and creates it.
func NewWriter(cfg WriterConfig) *Writer {
	cfg.SegmentBytes, cfg.Bytes = cmp.Or(cfg.SegmentBytes, MaxSegmentBytes), cmp.Or(cfg.Bytes, MaxBytes)
	cfg.Age, cfg.Queue = cmp.Or(cfg.Age, MaxAge), cmp.Or(cfg.Queue, defaultQueue)
	if cfg.Report == nil {
		cfg.Report = func(error) {}
	}
	if cfg.Warn == nil {
		cfg.Warn = func(string, ...any) {}
	}
	return &Writer{
		cfg: cfg, queue: make(chan queuedLine, cfg.Queue), done: make(chan struct{}),
		stats: Stats{Dir: cfg.Dir},
	}
}

// Append appends a line. value is encoded later as a JSON object of at most 1 MiB, so the caller must not change it. at is
// the wall-clock time. If the queue is full the line is lost.
func (w *Writer) Append(kind Kind, at time.Time, value any) {
	select {
	case w.queue <- queuedLine{kind, at, value}:
	default:
		w.lose(1, at)
	}
}

// lose counts lost lines.
func (w *Writer) lose(n uint64, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Lost += n
	if w.loss.Lines += n; w.loss.From.IsZero() {
		w.loss.From = at
	}
	w.loss.To = at
}

// Stats returns the state of the store.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Waiting += len(w.queue)
	return s
}

// Run writes until ctx is done, and then the lines that wait in the queue. It may be called once.
func (w *Writer) Run(ctx context.Context) {
	defer close(w.done)
	defer w.close()
	w.reportProblem(w.open())
	w.offset = w.clockOffset()
	syncTick, expireTick, retryTick := time.NewTicker(syncInterval), time.NewTicker(expireInterval), time.NewTicker(retryInterval)
	defer syncTick.Stop()
	defer expireTick.Stop()
	defer retryTick.Stop()
	for {
		queue, retry := w.queue, (<-chan time.Time)(nil)
		if w.lines > 0 || w.held != nil { // the last attempt failed: leave the other lines in the queue, which is bounded
			queue, retry = nil, retryTick.C
		}
		select {
		case <-ctx.Done():
			w.write()
			n := w.lines + len(w.queue)
			if w.held != nil {
				n++
			}
			if n > 0 {
				w.cfg.Warn("history entries are lost: they could not be written before the exit", "dir", w.cfg.Dir, "entries", n, "error", w.Stats().Problem)
			}
			return
		case line := <-queue:
			w.take(line)
			w.write()
		case <-retry:
			w.write()
		case <-syncTick.C:
			w.sync()
		case <-expireTick.C:
			w.expire()
		}
	}
}

// Done returns a channel that is closed when Run returns.
func (w *Writer) Done() <-chan struct{} { return w.done }

// write writes the batch and then the queue, until it is empty or a write fails.
func (w *Writer) write() {
	for {
		for w.held == nil && int64(len(w.batch)) < min(maxBatch, w.cfg.SegmentBytes/2) {
			select {
			case line := <-w.queue:
				w.take(line)
				continue
			default:
			}
			break
		}
		if w.lines == 0 && w.held == nil {
			return
		}
		err := w.flush()
		w.reportProblem(err)
		if err != nil {
			return
		}
		if held := w.held; held != nil { // the clock was set back: its line begins another segment
			w.held = nil
			w.close()
			w.last = time.Time{}
			w.take(*held)
		}
		w.takeLoss()
	}
}

// take encodes a line into the batch, or holds it if it must begin another segment.
func (w *Writer) take(line queuedLine) {
	if !w.last.IsZero() && line.at.Before(w.last.Add(-slack)) {
		w.held = &line
		return
	}
	value, err := json.Marshal(line.value)
	if err != nil || len(value) > maxLine-256 || len(value) == 0 || value[0] != '{' {
		w.lose(1, line.at)
		return
	}
	if w.lines == 0 {
		w.first = line.at
	}
	w.batch = appendLine(w.batch, line.kind, w.cfg.Run, line.at, value)
	w.lines++
	if line.at.After(w.last) {
		w.last = line.at
	}
}

// takeLoss adds a line about the lost lines to the batch.
func (w *Writer) takeLoss() {
	w.mu.Lock()
	loss := w.loss
	w.loss = Loss{}
	w.mu.Unlock()
	if loss.Lines > 0 {
		loss.Why = cmp.Or(loss.Why, "the disk was too slow")
		w.take(queuedLine{KindLost, w.cfg.Clock.Wall(), loss})
	}
}

// flush writes the batch to the current segment, or to a new one.
func (w *Writer) flush() error {
	if w.lines == 0 {
		return nil
	}
	if err := w.ready(); err != nil {
		return err
	}
	n, err := w.file.Write(w.batch)
	if err != nil {
		if n > 0 && w.file.Truncate(w.size) != nil { // a part of the batch was written, and stays
			w.close()
		}
		return fmt.Errorf("write %s: %w", filepath.Join(w.cfg.Dir, w.name), cause(err))
	}
	w.size += int64(n)
	w.unsynced = true
	w.mu.Lock()
	w.stats.Written += uint64(w.lines) //nolint:gosec // it counts up from 0
	w.stats.Bytes += int64(n)
	w.mu.Unlock()
	w.batch, w.lines = w.batch[:0], 0
	if cap(w.batch) > 2*maxBatch {
		w.batch = nil
	}
	return nil
}

// ready opens a segment with room for the batch.
func (w *Writer) ready() error {
	if !w.listed {
		if err := w.open(); err != nil {
			return err
		}
	}
	if w.file != nil {
		if problem := w.changed(); problem != "" {
			w.damage(w.name + " " + problem)
			w.close()
		}
	}
	if w.file != nil && w.size+int64(len(w.batch)) > w.cfg.SegmentBytes {
		w.close()
	}
	if w.file != nil {
		return nil
	}
	return w.create()
}

// changed returns what another process did to the open segment, "" if nothing.
func (w *Writer) changed() string {
	var st unix.Stat_t
	switch err := unix.Fstat(int(w.file.Fd()), &st); {
	case err != nil:
		return ""
	case st.Nlink == 0:
		return "was removed by another program"
	case st.Size != w.size:
		return fmt.Sprintf("was changed by another program: it has %d bytes instead of %d", st.Size, w.size)
	}
	return ""
}

// damage notes and logs damage to the store.
func (w *Writer) damage(text string) {
	w.cfg.Warn("the history was damaged: a new segment follows", "dir", w.cfg.Dir, "damage", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stats.Damage != "" {
		text = w.stats.Damage + "; " + text
	}
	if len(text) > 512 {
		text = text[:512] + "..."
	}
	w.stats.Damage = text
}

// open creates the directory if necessary, removes empty segments and those beyond the bounds, and continues the last one.
func (w *Writer) open() error {
	if err := w.makeDir(); err != nil {
		return err
	}
	list, err := listSegments(w.cfg.Dir)
	if err != nil {
		return err
	}
	var empty []string
	for _, s := range list {
		if s.size == 0 {
			empty = append(empty, s.name)
			if err := w.remove(s); err != nil {
				return err
			}
		}
	}
	switch len(empty) {
	case 0:
	case 1:
		w.damage(empty[0] + " was empty")
	default:
		w.damage(fmt.Sprintf("%d segments were empty, the last one %s", len(empty), empty[len(empty)-1]))
	}
	w.listed = true
	w.continueLast()
	_, err = w.prune(0)
	w.publish()
	return err
}

// makeDir creates the directory, unless another user could write in it.
func (w *Writer) makeDir() error {
	parent := filepath.Dir(w.cfg.Dir)
	if err := os.MkdirAll(parent, dirPerm); err != nil {
		return err
	}
	if err := state.CheckDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(w.cfg.Dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return state.CheckDir(w.cfg.Dir)
}

// continueLast opens the last segment to append to it, if it is whole, has room, and no other process writes it.
func (w *Writer) continueLast() {
	list, err := listSegments(w.cfg.Dir)
	if err != nil || len(list) == 0 {
		return
	}
	s := list[len(list)-1]
	if s.size >= w.cfg.SegmentBytes {
		return
	}
	f, err := hostfs.OpenRegular(filepath.Join(w.cfg.Dir, s.name), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return // a new segment can be created, or its error is reported
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		f.Close() // an earlier reaper still writes to it
		return
	}
	size, last, problem := checkLast(f)
	if problem != "" {
		w.damage(s.name + ": " + problem)
	}
	if size == 0 {
		f.Close()
		return
	}
	w.file, w.name, w.size, w.last = f, s.name, size, last
}

// checkLast checks a segment to continue, and cuts off a torn last line. The size is 0 if it cannot be continued.
func checkLast(f *os.File) (size int64, last time.Time, problem string) {
	if _, err := readHead(f); err != nil {
		return 0, last, cause(err).Error()
	}
	info, err := f.Stat()
	if err != nil {
		return 0, last, err.Error()
	}
	line, end, ok := readLast(f, info.Size())
	if !ok {
		return 0, last, "its last line is damaged"
	}
	if torn := info.Size() - end; torn > 0 {
		if err := f.Truncate(end); err != nil {
			return 0, last, cause(err).Error()
		}
		problem = fmt.Sprintf("its last line was cut: removed %d bytes", torn)
	}
	return end, line.At, problem
}

// create removes segments to make room for another one, and creates it.
func (w *Writer) create() error {
	if err := w.makeDir(); err != nil {
		return err
	}
	number, err := w.prune(w.cfg.SegmentBytes)
	if err != nil {
		return err
	}
	at := w.first
	for ; ; number++ {
		name := segmentName(number, at)
		f, err := hostfs.OpenRegular(filepath.Join(w.cfg.Dir, name), os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, filePerm)
		if errors.Is(err, fs.ErrExist) {
			continue // another reaper's
		}
		if err != nil {
			return err
		}
		head, err := json.Marshal(segmentHead{version})
		if err == nil {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		}
		head = appendLine(nil, kindSegment, w.cfg.Run, at, head)
		if err == nil {
			_, err = f.Write(head)
		}
		if err != nil {
			f.Close()
			return fmt.Errorf("write %s: %w", filepath.Join(w.cfg.Dir, name), cause(errors.Join(err, os.Remove(filepath.Join(w.cfg.Dir, name)))))
		}
		w.file, w.name, w.size = f, name, int64(len(head))
		w.publish()
		return nil
	}
}

// prune removes the oldest segments until room bytes more are within the bounds, and returns the next segment's number.
func (w *Writer) prune(room int64) (next uint64, err error) {
	list, err := listSegments(w.cfg.Dir)
	if err != nil {
		return 0, err
	}
	total := room
	for _, s := range list {
		total += s.size
		next = max(next, s.number)
	}
	for i, s := range list {
		if total <= w.cfg.Bytes && len(list)-i < maxSegments || s.name == w.name && w.file != nil {
			break
		}
		if err := w.remove(s); err != nil {
			return 0, err
		}
		total -= s.size
	}
	return next + 1, nil
}

func (w *Writer) remove(s segment) error {
	if err := os.Remove(filepath.Join(w.cfg.Dir, s.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// expire removes the segments whose last line has reached the maximum age. It removes none if the wall clock was set since
// the last call: a clock that is wrong for a moment would cost the whole history.
func (w *Writer) expire() {
	offset := w.clockOffset()
	moved := offset - w.offset
	w.offset = offset
	if moved.Abs() > slack {
		return
	}
	list, err := listSegments(w.cfg.Dir)
	if err != nil {
		return // the next write reports it
	}
	oldest := w.cfg.Clock.Wall().Add(-w.cfg.Age)
	for _, s := range list {
		if s.name == w.name && w.file != nil {
			if w.last.Before(oldest) && !w.last.IsZero() {
				w.close()
			} else {
				break
			}
		}
		if !w.endsBefore(s, oldest) || w.remove(s) != nil {
			break
		}
	}
	w.publish()
}

// endsBefore reports whether all lines of a segment are older than a time. A damaged segment has the time of its file.
func (w *Writer) endsBefore(s segment, oldest time.Time) bool {
	f, size, err := openSegment(w.cfg.Dir, s.name)
	if err != nil {
		return false
	}
	defer f.Close()
	if last, _, ok := readLast(f, size); ok {
		return last.At.Before(oldest)
	}
	info, err := f.Stat()
	return err == nil && info.ModTime().Before(oldest)
}

// clockOffset returns the wall clock's distance from the monotonic clock. It changes when the wall clock is set.
func (w *Writer) clockOffset() time.Duration {
	return time.Duration(w.cfg.Clock.Wall().UnixNano() - int64(w.cfg.Clock.Now()))
}

// sync makes the written lines survive a power failure.
func (w *Writer) sync() {
	if w.file == nil || !w.unsynced {
		return
	}
	w.unsynced = false
	if err := hostfs.RetryErr(func() error { return unix.Fdatasync(int(w.file.Fd())) }); err != nil {
		w.reportProblem(fmt.Errorf("sync %s: %w", filepath.Join(w.cfg.Dir, w.name), err))
	}
}

// close syncs and closes the segment.
func (w *Writer) close() {
	if w.file == nil {
		return
	}
	w.sync()
	w.file.Close()
	w.file, w.name, w.size = nil, "", 0
}

// reportProblem updates and logs why lines cannot be written.
func (w *Writer) reportProblem(err error) {
	text := ""
	if err != nil {
		text = strings.TrimSpace(err.Error())
	}
	w.mu.Lock()
	was := w.stats.Problem
	if text != "" || w.loss.Lines == 0 {
		w.loss.Why = text
	}
	w.stats.Problem, w.stats.Waiting = text, w.lines
	if w.held != nil {
		w.stats.Waiting++
	}
	w.mu.Unlock()
	w.cfg.Report(err)
	if text != "" && text != was {
		w.cfg.Warn("cannot write the history: entries wait in memory, then they are lost", "dir", w.cfg.Dir, "error", text)
	}
}

// publish updates the size of the store.
func (w *Writer) publish() {
	list, err := listSegments(w.cfg.Dir)
	if err != nil {
		return
	}
	oldest := time.Time{}
	if r := (&Reader{dir: w.cfg.Dir, segments: list}); len(list) > 0 {
		oldest, _ = r.Oldest()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Segments, w.stats.Bytes, w.stats.Oldest = len(list), 0, oldest
	for _, s := range list {
		w.stats.Bytes += s.size
	}
}

// cause returns a PathError's cause: the error that contains it names the file already.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
