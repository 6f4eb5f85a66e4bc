// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"log/slog"

	"github.com/google/renameio/v2"
)

// saver writes the candidates' file beside the loop, one writing at a time.
type saver struct {
	path string
	log  *slog.Logger
	busy chan struct{} // holds a value while it writes
}

func newSaver(path string, log *slog.Logger) *saver {
	return &saver{path: path, log: log, busy: make(chan struct{}, 1)}
}

// start writes what encode returns, unless the last writing is still going on.
func (s *saver) start(encode func() []byte) bool {
	select {
	case s.busy <- struct{}{}:
	default:
		return false
	}
	content := encode()
	go func() {
		defer func() { <-s.busy }()
		s.write(content)
	}()
	return true
}

func (s *saver) write(content []byte) {
	if err := renameio.WriteFile(s.path, content, 0o600); err != nil {
		s.log.Warn("save the candidates: a restart will know only the ages that the kernel can prove", "error", err)
	}
}

// wait waits for the end of a writing that is going on.
func (s *saver) wait() {
	s.busy <- struct{}{}
	<-s.busy
}
