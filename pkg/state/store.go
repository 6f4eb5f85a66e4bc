// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// DefaultDir is the state directory unless EnvDir names another. A reboot empties its file system.
const DefaultDir = "/run/halfclose"

// EnvDir is the environment variable that names another state directory, for the plugin and the reaper.
const EnvDir = "HALFCLOSE_STATE_DIR"

const (
	dirPerm  = 0o700
	filePerm = 0o600
	// maxFileSize bounds a record in bytes, for reading and for writing. The largest record that pkg/policy allows, with
	// 64 rules of 16 elements in each list and annotations of 256 KiB, has 720 KiB.
	maxFileSize = 768 << 10
	// attachmentsDir is the directory of the records, in the state directory.
	attachmentsDir = "attachments"
)

// DirFromEnv returns the state directory in the environment. A relative path is resolved in the current working directory.
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

// New returns the store in dir. It does not access the directory: Put creates it.
func New(dir string) *Store { return &Store{dir: filepath.Clean(dir)} }

// Dir returns the state directory.
func (s *Store) Dir() string { return s.dir }

// AttachmentsDir returns the directory that holds the records. It is absent until the first Put.
func (s *Store) AttachmentsDir() string { return filepath.Join(s.dir, attachmentsDir) }

// LockPath returns the file of the reaper's lock.
func (s *Store) LockPath() string { return filepath.Join(s.dir, "reaper.lock") }

// SocketPath returns the unix socket of the reaper's API.
func (s *Store) SocketPath() string { return filepath.Join(s.dir, "reaper.sock") }

// CandidatesPath returns the file of the reaper's saved candidates.
func (s *Store) CandidatesPath() string { return filepath.Join(s.dir, "candidates") }

// LogPath returns the log file of a reaper that the plugin started on a node without journald.
func (s *Store) LogPath() string { return filepath.Join(s.dir, "reaper.log") }

// Put writes the record of an attachment, in the current version, replaces an older one, and creates the directories. A
// process that is killed at any moment leaves the old record or the new one, or both if they name different network
// namespaces, and at worst a temporary file that Prune removes. A power failure may leave neither: no record outlives the
// boot anyway.
func (s *Store) Put(r Record) error { return s.write(r, removeOthers) }

// Add writes the record of an attachment as Put does, but keeps the attachment's files that name another netns or none.
// Delete removes them all.
func (s *Store) Add(r Record) error {
	return s.write(r, func(int, Attachment, string) error { return nil })
}

func (s *Store) write(r Record, replaceOthers func(dir int, a Attachment, name string) error) error {
	if err := s.put(r, replaceOthers); err != nil {
		return fmt.Errorf("write record of %s: %w", r.Attachment, err)
	}
	return nil
}

func (s *Store) put(r Record, replaceOthers func(dir int, a Attachment, name string) error) error {
	if err := r.CheckName(); err != nil {
		return err
	}
	r.Version = Version
	data, err := encode(r)
	if err != nil {
		return err
	}
	name, err := r.FileName()
	if err != nil {
		return err
	}
	dir, err := s.openForPut()
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := replaceIn(dir, name, data, untilReboot); err != nil {
		return err
	}
	return replaceOthers(dir, r.Attachment, name)
}

// removeOthers removes the attachment's older files after Put has written a new one, if they name another netns. Both records apply until then, so that neither netns lacks a policy that it had.
func removeOthers(dir int, a Attachment, name string) error {
	names, err := namesWithPrefix(dir, a.base())
	if err != nil {
		return fmt.Errorf("find older records: %w", err)
	}
	var errs []error
	for _, other := range names {
		if other == name || !a.owns(other) || !isOlder(dir, other, name) {
			continue
		}
		if err := unlinkAt(dir, other); err != nil {
			errs = append(errs, fmt.Errorf("remove older record: %w", err))
		}
	}
	return errors.Join(errs...)
}

// isOlder reports whether a file was written before another one: two concurrent Puts must not remove each other's files. Of
// two files of the same time, the names decide.
func isOlder(dir int, name, than string) bool {
	var a, b unix.Stat_t
	if unix.Fstatat(dir, name, &a, unix.AT_SYMLINK_NOFOLLOW) != nil || unix.Fstatat(dir, than, &b, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	return cmp.Or(cmp.Compare(a.Mtim.Nano(), b.Mtim.Nano()), cmp.Compare(name, than)) < 0
}

// unlinkAt removes a file or an empty directory. An absent one is no error.
func unlinkAt(dir int, name string) error {
	err := hostfs.RetryErr(func() error { return unix.Unlinkat(dir, name, 0) })
	if errors.Is(err, unix.EISDIR) {
		err = hostfs.RetryErr(func() error { return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) })
	}
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return os.NewSyscallError("unlink", err)
}

// makeDirs creates the state directory and the directory of the records, and opens the latter. It does not change the mode of
// an existing state directory, which may be another program's.
func (s *Store) makeDirs() (*os.Root, error) {
	if err := makeDir(s.dir); err != nil {
		return nil, fmt.Errorf("create state directory (%s sets another): %w", EnvDir, err)
	}
	parent, err := openDirectory(s.dir)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if err := checkRoot(parent, s.dir); err != nil {
		return nil, err
	}
	if err := parent.Mkdir(attachmentsDir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := restrict(parent); err != nil {
		return nil, err
	}
	return s.openChecked(parent)
}

// restrict sets the mode of the directory of the records to 0700.
func restrict(parent *os.Root) error {
	info, err := parent.Stat(attachmentsDir)
	if err != nil || !info.IsDir() || info.Mode().Perm() == dirPerm {
		return err // opening it fails if it is no directory
	}
	return parent.Chmod(attachmentsDir, dirPerm)
}

// makeDir creates a directory of mode 0700 regardless of the umask, and its parents as mkdir -p does.
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
		return nil // opening it fails if it is no directory
	case err != nil:
		return err
	}
	return os.Chmod(dir, dirPerm)
}

// openDir opens the directory of the records for reading. It fails if another user can write to the state directory.
// Neither the directory nor a path below it can lead out of the state directory.
func (s *Store) openDir() (*os.Root, error) {
	parent, err := openDirectory(s.dir)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if err := checkRoot(parent, s.dir); err != nil {
		return nil, err
	}
	return s.openChecked(parent)
}

// openChecked opens the directory of the records unless another user can write to it.
func (s *Store) openChecked(parent *os.Root) (*os.Root, error) {
	root, err := openAttachments(parent)
	if err != nil {
		return nil, err
	}
	if err := checkRoot(root, s.AttachmentsDir()); err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// openToRemove opens the directory of the records to remove some. Removing them is safe even if another user can write
// there.
func (s *Store) openToRemove() (*os.Root, error) {
	parent, err := openDirectory(s.dir)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	return openAttachments(parent)
}

// openDirectory is os.OpenRoot for a path that may not be a directory. Because of the slash at the end the kernel refuses any
// other file before it opens it: opening a FIFO would block.
func openDirectory(dir string) (*os.Root, error) {
	return os.OpenRoot(dir + "/")
}

// openAttachments opens the directory of the records in the state directory, as openDirectory does.
func openAttachments(parent *os.Root) (*os.Root, error) {
	return parent.OpenRoot(attachmentsDir + "/.")
}

// Get reads the record of an attachment, the newest if there are several. The error is fs.ErrNotExist if there is none, and
// ErrInvalid if there are only damaged files.
func (s *Store) Get(a Attachment) (Record, error) {
	r, err := s.get(a)
	if err != nil {
		return Record{}, fmt.Errorf("read record of %s: %w", a, err)
	}
	return r, nil
}

func (s *Store) get(a Attachment) (Record, error) {
	if err := a.CheckName(); err != nil {
		return Record{}, err
	}
	root, err := s.openDir()
	if err != nil {
		return Record{}, err
	}
	defer root.Close()
	names, err := readNames(root)
	if err != nil {
		return Record{}, err
	}
	var newest Record
	none := fs.ErrNotExist
	for _, name := range names {
		if !a.owns(name) {
			continue
		}
		data, _, err := readFile(root, name)
		var r Record
		if err == nil {
			r, err = decode(name, data)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			if errors.Is(none, fs.ErrNotExist) || errors.Is(none, ErrInvalid) { // a file that may be right comes before damage
				none = err
			}
		case newest.Version == 0 || r.Time.After(newest.Time):
			newest = r
		}
	}
	if newest.Version == 0 {
		return Record{}, none
	}
	return newest, nil
}

// Delete removes all files of an attachment, whatever their content. Without any it succeeds.
func (s *Store) Delete(a Attachment) error {
	err := a.CheckName()
	if err == nil {
		err = s.remove(func(name string) bool { return a.owns(name) })
	}
	if err != nil {
		return fmt.Errorf("delete record of %s: %w", a, err)
	}
	return nil
}

// Remove removes the file of a listed record, and no other file of its attachment. Without the file it succeeds.
func (s *Store) Remove(r Record) error {
	file, err := r.FileName()
	if err == nil {
		err = s.remove(func(name string) bool { return name == file })
	}
	if err != nil {
		return fmt.Errorf("remove record of %s: %w", r.Attachment, err)
	}
	return nil
}

// DeleteSharing removes the records of all attachments of a container and of a netns, including those registered by hand,
// whatever the files' content. It returns the names of the removed files, and works on a full disk. It matches a netns without an
// identity by its path.
func (s *Store) DeleteSharing(id string, in Netns) (files []string, err error) {
	samePath := make(map[string]bool)
	if in.Inode == 0 {
		listing, listErr := s.List(context.Background())
		err = listErr
		for _, r := range listing.Records {
			if name, nameErr := r.FileName(); nameErr == nil && in.Path != "" && r.Netns.Path == in.Path {
				samePath[name] = true
			}
		}
	}
	isOf := func(key NetnsKey) bool { return in.Inode != 0 && key.Names(in.Identity) }
	err = errors.Join(err, s.remove(func(name string) bool {
		a, key, err := ParseFileName(name)
		if err != nil {
			return false
		}
		if a.ContainerID != id && !isOf(key) && !samePath[name] {
			return false
		}
		files = append(files, name)
		return true
	}))
	if err != nil {
		err = fmt.Errorf("delete records of container %q and of its netns: %w", id, err)
	}
	return files, err
}

// remove removes the files whose names match. After an error it removes the others.
func (s *Store) remove(match func(name string) bool) error {
	root, err := s.openToRemove()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	names, err := readNames(root)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if !match(name) {
			continue
		}
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
