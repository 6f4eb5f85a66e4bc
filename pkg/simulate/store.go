// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/state"
)

// Store keeps the counts in a directory: a file for each hour (UTC), replaced as a whole, with the sockets that ended in the
// hour, and the sockets that were living when it was written. So a kill loses what the last write lacks, and doubles nothing.
type Store struct{ dir string }

// Dir returns the directory of the idle times that belongs to a state directory.
func Dir(stateDir string) string { return filepath.Join(state.PersistentDir(stateDir), "idle") }

// NewStore returns the store in a directory, which need not exist.
func NewStore(dir string) *Store { return &Store{dir} }

// Dir returns the store's directory.
func (s *Store) Dir() string { return s.dir }

const (
	version   = 1
	hourName  = "2006-01-02T15Z.ndjson"
	maxFile   = 8 << 20 // bytes of one file
	maxAge    = 14 * 24 * time.Hour
	maxStored = 64 << 20 // bytes of all files
)

// Hour has the counts of one hour.
type Hour struct {
	Start   time.Time // UTC
	Written time.Time
	Ended   Table // in this hour
	Living  Table // at Written
}

// NewHour returns an hour without counts.
func NewHour(at time.Time) *Hour {
	return &Hour{Start: at.UTC().Truncate(time.Hour), Ended: make(Table), Living: make(Table)}
}

type header struct {
	Version int       `json:"version"`
	Hour    time.Time `json:"hour"`
	Written time.Time `json:"written"`
}

type row struct {
	Key
	State halfClosed `json:"state"` // in place of Key.State
	Counts
}

// halfClosed is the state of a half-closed socket, which is parsed fast.
type halfClosed inetdiag.State

func (s halfClosed) MarshalText() ([]byte, error) { return inetdiag.State(s).MarshalText() }

func (s *halfClosed) UnmarshalText(text []byte) error {
	for _, is := range []inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2} {
		if string(text) == is.String() {
			*s = halfClosed(is)
			return nil
		}
	}
	return fmt.Errorf("state %q is not that of a half-closed socket", text)
}

// Write replaces the file of an hour, which was written at the time that h says.
func (s *Store) Write(h *Hour) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("write idle times: %w", err)
	}
	path := filepath.Join(s.dir, h.Start.Format(hourName))
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o600))
	if err != nil {
		return fmt.Errorf("write idle times: %w", err)
	}
	defer f.Cleanup() //nolint:errcheck // it fails if the file was not written, which has an error of its own
	w := bufio.NewWriter(f)
	if err := errors.Join(h.encode(w), w.Flush()); err != nil {
		return fmt.Errorf("write idle times to %s: %w", path, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write idle times to %s: %w", path, err)
	}
	return nil
}

func (h *Hour) encode(w io.Writer) error {
	enc := json.NewEncoder(w)
	err := enc.Encode(header{version, h.Start, h.Written.UTC()})
	for _, t := range []Table{h.Ended, h.Living} {
		for _, k := range t.sorted() {
			if err == nil {
				err = enc.Encode(row{k, halfClosed(k.State), *t[k]})
			}
		}
	}
	return err
}

// parseHour parses a file.
func parseHour(text []byte) (*Hour, error) {
	line, rest, _ := bytes.Cut(text, []byte{'\n'})
	var head header
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	switch {
	case head.Version != version:
		return nil, fmt.Errorf("version %d is not %d", head.Version, version)
	case head.Hour.IsZero() || head.Hour != head.Hour.Truncate(time.Hour):
		return nil, fmt.Errorf("%v is not the start of an hour", head.Hour)
	}
	h := NewHour(head.Hour)
	h.Written = head.Written
	for n := 2; len(rest) > 0; n++ {
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		var r row
		err := json.Unmarshal(line, &r)
		r.Key.State = inetdiag.State(r.State)
		if err == nil {
			err = check(&r.Key, &r.Counts)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		t := h.Ended
		if r.End == Living {
			t = h.Living
		}
		t.counts(r.Key).Merge(&r.Counts)
	}
	return h, nil
}

// Load returns the hour of a time; one without counts if it has no file.
func (s *Store) Load(at time.Time) (*Hour, error) {
	h := NewHour(at)
	read, err := s.read(h.Start.Format(hourName))
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err == nil && !read.Start.Equal(h.Start) {
		err = fmt.Errorf("%s: it is of %v", s.dir, read.Start)
	}
	if err != nil {
		return h, err
	}
	return read, nil
}

func (s *Store) read(name string) (*Hour, error) {
	path := filepath.Join(s.dir, name)
	text, err := hostfs.ReadFile(path, maxFile, unix.O_NOFOLLOW)
	if err != nil {
		return nil, fmt.Errorf("read idle times: %w", err)
	}
	h, err := parseHour(text)
	if err != nil {
		return nil, fmt.Errorf("read idle times from %s: %w", path, err)
	}
	return h, nil
}

// names lists the store's files, the newest first.
func (s *Store) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list idle times: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, err := time.Parse(hourName, e.Name()); err == nil {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(b, a) })
	return names, nil
}

// Prune removes files that are older than 14 days, and the oldest while all are larger than 64 MiB together.
func (s *Store) Prune(now time.Time) error {
	names, err := s.names()
	if err != nil {
		return err
	}
	var total int64
	oldest := now.Add(-maxAge).UTC().Format(hourName)
	for i, name := range names {
		path := filepath.Join(s.dir, name)
		info, e := os.Lstat(path)
		if e == nil {
			total += info.Size()
		}
		if i > 0 && (name < oldest || total > maxStored) {
			if e := os.Remove(path); e != nil && err == nil {
				err = fmt.Errorf("remove old idle times: %w", e)
			}
		}
	}
	return err
}

// Since returns the hours from a time until now, the newest first, and why files were skipped. Only the newest has living
// sockets: those of the others were living when it was written, or have ended. Hours of the future were written by a wall
// clock that has been set back: their living sockets would stay the newest for as long as the clock was wrong.
func (s *Store) Since(since, now time.Time) (hours []*Hour, problems []error, err error) {
	names, err := s.names()
	if err != nil {
		return nil, nil, err
	}
	from := since.UTC().Truncate(time.Hour).Format(hourName)
	if i := slices.IndexFunc(names, func(name string) bool { return name < from }); i >= 0 {
		names = names[:i]
	}
	latest := now.UTC().Format(hourName)
	for len(names) > 0 && names[0] > latest {
		problems = append(problems, fmt.Errorf("%s is of the future: the wall clock has been set back", filepath.Join(s.dir, names[0])))
		names = names[1:]
	}
	all, errs := make([]*Hour, len(names)), make([]error, len(names))
	var g errgroup.Group // parsing two weeks takes seconds
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		g.Go(func() error {
			all[i], errs[i] = s.read(name)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	for i, h := range all {
		switch err := errs[i]; {
		case errors.Is(err, fs.ErrNotExist): // removed as too old
		case err != nil:
			problems = append(problems, err)
		default:
			if len(hours) > 0 {
				h.Living = nil
			}
			hours = append(hours, h)
		}
	}
	return hours, problems, nil
}
