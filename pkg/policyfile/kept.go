// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/state"
)

// copyFile is the copy of the last good file, in state.PersistentDir. "jq -r .text" prints the file.
const copyFile = "policy.json"

// copyVersion is the version of the copy's format.
const copyVersion = 1

// maxCopyBytes bounds the copy: a character of the file has at most six bytes in it.
const maxCopyBytes = 6*MaxBytes + 64<<10

// CopyPath returns the file of the last good policy file for a state directory.
func CopyPath(stateDir string) string { return filepath.Join(state.PersistentDir(stateDir), copyFile) }

// good is the content of a policy file without mistakes.
type good struct {
	path   string
	text   string
	digest string
	since  time.Time // when it was first read
	file   *File
}

// copyJSON is the copy on disk.
type copyJSON struct {
	Version int       `json:"version"`
	Path    string    `json:"path"`
	Since   time.Time `json:"since"`
	SHA256  string    `json:"sha256"`
	Text    string    `json:"text"`
}

// digestBytes is the number of bytes of a SHA-256 that a digest shows.
const digestBytes = 6

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

func newGood(path, text string, file *File, since time.Time) *good {
	return &good{path: path, text: text, digest: sum(text)[:2*digestBytes], since: since, file: file}
}

// errDamaged is the error of a copy that cannot be used. There was a policy file, and nothing is known about it.
var errDamaged = errors.New("the copy of the last good file is damaged")

// loadCopy returns the last good content of the policy file at path, nil if there is none: no copy, or that of another path.
func loadCopy(from, path string) (*good, error) {
	if err := state.CheckDir(filepath.Dir(from)); err != nil {
		return nil, fmt.Errorf("read %s: %w", from, err)
	}
	data, err := hostfs.ReadFile(from, maxCopyBytes, unix.O_NOFOLLOW)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the copy of the last good file: %w", err)
	}
	var c copyJSON
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, from, err)
	}
	if c.Version != copyVersion || c.SHA256 != sum(c.Text) {
		return nil, fmt.Errorf("%w: %s", errDamaged, from)
	}
	if c.Path != path {
		return nil, nil
	}
	file, problems := Parse([]byte(c.Text), nameOf(path))
	if len(problems) > 0 {
		return nil, fmt.Errorf("%w, or of a newer version: %s: %w", errDamaged, from, problems)
	}
	return newGood(path, c.Text, &file, c.Since), nil
}

// saveCopy writes the copy. If it cannot, it empties an older copy, which may be less conservative: an empty copy makes every
// pod observed if the file is wrong at the next start.
func saveCopy(to string, g *good) error {
	data, err := json.MarshalIndent(copyJSON{copyVersion, g.path, g.since, sum(g.text), g.text}, "", "  ")
	if err != nil {
		return err
	}
	if err = state.StoreFile(to, append(data, '\n')); err != nil {
		if truncated := os.Truncate(to, 0); truncated != nil && !errors.Is(truncated, fs.ErrNotExist) {
			err = errors.Join(err, truncated)
		}
		return fmt.Errorf("write the copy of the policy file: %w", err)
	}
	return nil
}

// removeCopy removes the copy: the deleted file had no entries.
func removeCopy(from string) error {
	if err := os.Remove(from); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
