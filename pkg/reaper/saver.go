// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"bufio"
	"errors"
	"io"

	"github.com/google/renameio/v2"
)

// saver writes the candidates' file beside the loop, one writing at a time.
type saver struct {
	path     string
	warnings *warnings
	busy     chan struct{} // holds a value while it writes
}

func newSaver(path string, w *warnings) *saver {
	return &saver{path: path, warnings: w, busy: make(chan struct{}, 1)}
}

// start begins to save what encode writes, unless the last writing is still going on. encode runs at once;
// the file reaches the disk, and its name, beside the caller.
func (s *saver) start(encode func(io.Writer) error) bool {
	select {
	case s.busy <- struct{}{}:
	default:
		return false
	}
	f, err := s.write(encode)
	go func() {
		defer func() { <-s.busy }()
		s.finish(f, err)
	}()
	return true
}

// save saves what encode writes, to the end.
func (s *saver) save(encode func(io.Writer) error) {
	s.finish(s.write(encode))
}

// write writes a file that has no name yet. It goes out in pieces: as a whole it would be the largest thing
// in memory by far.
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
	if err != nil {
		s.warnings.warn(WarnCandidates, "save the candidates: a restart will know only the ages that the kernel can prove", "error", err)
	}
}

// wait waits for the end of a writing that is going on.
func (s *saver) wait() {
	s.busy <- struct{}{}
	<-s.busy
}
