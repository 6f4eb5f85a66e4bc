// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/halfclose/halfclose/internal/bounded"
)

// ErrHangs means that a file system does not answer, such as FUSE or NFS without its server. It proves nothing about the
// network namespace.
var ErrHangs = errors.New("its file system does not answer")

// The bounds of a Root's operations that hang. Each keeps a thread until the file system answers.
const (
	openPatience  = 2 * time.Second // longer than a busy node keeps a thread from running
	maxHung       = 64
	maxHungPerDir = 4 // usually the whole file system hangs
)

// hung has the operations of a Root that have not returned within the patience.
type hung struct {
	patience time.Duration

	mu    sync.Mutex
	paths map[string]struct{}
	dirs  map[string]int // how many of them are in each directory
}

func newHung() *hung {
	return &hung{patience: openPatience, paths: make(map[string]struct{}), dirs: make(map[string]int)}
}

// check returns ErrHangs if an operation on a path must not be attempted.
func (h *hung) check(path string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.paths[path]; ok {
		return fmt.Errorf("open network namespace %s: %w: an earlier attempt has not returned", path, ErrHangs)
	}
	if dir := filepath.Dir(path); h.dirs[dir] >= maxHungPerDir {
		return fmt.Errorf("open network namespace %s: not attempted while %d paths of its directory hang: %w", path, h.dirs[dir], ErrHangs)
	}
	if len(h.paths) >= maxHung {
		return fmt.Errorf("open network namespace %s: not attempted while %d paths hang: %w", path, len(h.paths), ErrHangs)
	}
	return nil
}

func (h *hung) add(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paths[path] = struct{}{}
	h.dirs[filepath.Dir(path)]++
}

func (h *hung) remove(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.paths, path)
	dir := filepath.Dir(path)
	if h.dirs[dir]--; h.dirs[dir] == 0 {
		delete(h.dirs, dir)
	}
}

// within returns the result of call, an operation on a path, or ErrHangs if it does not return within the patience. A
// result after that is passed to discard.
func within[T any](h *hung, path string, call func() (T, error), discard func(T)) (T, error) {
	var none T
	if err := h.check(path); err != nil {
		return none, err
	}
	r, late := bounded.Call(h.patience, call)
	if late == nil {
		return r.Value, r.Err
	}
	h.add(path)
	go func() {
		defer h.remove(path)
		if r := <-late; r.Err == nil {
			discard(r.Value)
		}
	}()
	return none, fmt.Errorf("open network namespace %s: no answer within %v: %w", path, h.patience, ErrHangs)
}
