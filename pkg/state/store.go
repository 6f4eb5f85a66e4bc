// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DefaultDir is the state directory unless EnvDir names another. It is on a file system that a reboot
// empties.
const DefaultDir = "/run/halfclose"

// EnvDir is the environment variable that names another state directory, for plugin and reaper alike.
const EnvDir = "HALFCLOSE_STATE_DIR"

const (
	dirPerm  = 0o700
	filePerm = 0o600
	// maxFileSize bounds what is read of a record, and so what is written.
	maxFileSize = 1 << 20
	// attachmentsDir is the directory of the records, in the state directory.
	attachmentsDir = "attachments"
)

// DirFromEnv returns the state directory that the environment asks for. A relative one is of the working
// directory, as it is now.
func DirFromEnv(getenv func(string) string) string {
	dir := getenv(EnvDir)
	if dir == "" {
		return DefaultDir
	}
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// Store is the state directory. Its methods may be called concurrently, by several processes too.
type Store struct {
	dir string
}

// New returns the store in dir. It touches nothing: Put makes the directory.
func New(dir string) *Store { return &Store{dir: filepath.Clean(dir)} }

// Dir returns the state directory.
func (s *Store) Dir() string { return s.dir }

// AttachmentsDir returns the directory that holds the records. It is absent until the first Put.
func (s *Store) AttachmentsDir() string { return filepath.Join(s.dir, attachmentsDir) }

// LockPath returns the file whose lock makes a reaper the only one.
func (s *Store) LockPath() string { return filepath.Join(s.dir, "reaper.lock") }

// SocketPath returns the unix socket that the reaper answers on.
func (s *Store) SocketPath() string { return filepath.Join(s.dir, "reaper.sock") }

// CandidatesPath returns the file that the reaper saves its candidates in.
func (s *Store) CandidatesPath() string { return filepath.Join(s.dir, "candidates") }

// LogPath returns the file that a reaper logs to where there is no journal.
func (s *Store) LogPath() string { return filepath.Join(s.dir, "reaper.log") }

// Put writes the record of an attachment, in place of an older one, and makes the directories it needs.
// Version is set for the caller. A process that is killed at any moment leaves the old record or the new one, and at
// worst a temporary file that Prune removes. A power failure may leave neither: no record outlives the boot anyway.
func (s *Store) Put(r Record) error {
	if err := s.put(r); err != nil {
		return fmt.Errorf("write record of %s: %w", r.Attachment, err)
	}
	return nil
}

func (s *Store) put(r Record) error {
	name, err := r.FileName()
	if err != nil {
		return err
	}
	data, err := encode(r)
	if err != nil {
		return err
	}
	dir, err := s.openForPut()
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return replaceIn(dir, name, data, untilReboot)
}

// makeDirs makes the state directory and that of the records, and opens the latter. The state directory is
// left as it is when it exists, whoever made it; that of the records is nobody's but ours.
func (s *Store) makeDirs() (*os.Root, error) {
	if err := makeDir(s.dir); err != nil {
		return nil, fmt.Errorf("make state directory (%s sets another): %w", EnvDir, err)
	}
	parent, err := openDirectory(s.dir)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if err := parent.Mkdir(attachmentsDir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := restrict(parent); err != nil {
		return nil, err
	}
	return openAttachments(parent)
}

// restrict gives the directory of the records mode 0700 if it has another, from the umask or of old.
func restrict(parent *os.Root) error {
	info, err := parent.Stat(attachmentsDir)
	if err != nil || !info.IsDir() || info.Mode().Perm() == dirPerm {
		return err // if it is no directory, opening it will say so
	}
	return parent.Chmod(attachmentsDir, dirPerm)
}

// makeDir makes a directory of mode 0700 whatever the umask, and the ones above it as mkdir -p does.
func makeDir(dir string) error {
	err := os.Mkdir(dir, dirPerm)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return err
		}
		err = os.Mkdir(dir, dirPerm)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil // if it is no directory, opening it will say so
	case err != nil:
		return err
	}
	return os.Chmod(dir, dirPerm)
}

// openDir opens the directory of the records. Nothing outside of it can be reached through what it returns,
// and it is never outside of the state directory itself.
func (s *Store) openDir() (*os.Root, error) {
	parent, err := openDirectory(s.dir)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	return openAttachments(parent)
}

// openDirectory is os.OpenRoot for what need not be a directory: the slash at the end lets the kernel refuse
// anything else before it opens it. A FIFO would wait for its other end.
func openDirectory(dir string) (*os.Root, error) {
	return os.OpenRoot(dir + "/")
}

// openAttachments opens the directory of the records in the state directory, as openDirectory does.
func openAttachments(parent *os.Root) (*os.Root, error) {
	return parent.OpenRoot(attachmentsDir + "/.")
}

// Get reads the record of an attachment. The error is fs.ErrNotExist when there is none.
func (s *Store) Get(a Attachment) (Record, error) {
	r, err := s.get(a)
	if err != nil {
		return Record{}, fmt.Errorf("read record of %s: %w", a, err)
	}
	return r, nil
}

func (s *Store) get(a Attachment) (Record, error) {
	name, err := a.FileName()
	if err != nil {
		return Record{}, err
	}
	root, err := s.openDir()
	if err != nil {
		return Record{}, err
	}
	defer root.Close()
	data, _, err := readFile(root, name)
	if err != nil {
		return Record{}, err
	}
	return decode(name, data)
}

// Delete removes the record of an attachment, whatever its file holds. It is no error when there is none.
func (s *Store) Delete(a Attachment) error {
	name, err := a.FileName()
	if err != nil {
		return fmt.Errorf("delete record of %s: %w", a, err)
	}
	root, err := s.openDir()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		defer root.Close()
		err = root.Remove(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete record of %s: %w", a, err)
	}
	return nil
}
