// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package atomicdir

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// The names of temporary files, which only a killed process leaves behind. They begin with a dot and do not end in
// .conf, .conflist or .json, so no runtime loads them.
const (
	// lockName is the lock file, which exists while a process changes the directory. It holds the process's note.
	lockName = ".halfclose.lock"

	temporaryPrefix = ".halfclose-"
	temporarySuffix = ".tmp"
	// movedTag marks a file before it is moved or removed, until its content is verified.
	movedTag = "moved"
)

// temporaryName returns the name of a file for the time of one step: tag is movedTag, or the digest of a replacement.
func temporaryName(tag, name string) string {
	return temporaryPrefix + tag + "-" + name + temporarySuffix
}

// parseTemporary returns the arguments of temporaryName.
func parseTemporary(file string) (tag, name string, ok bool) {
	rest, hasPrefix := strings.CutPrefix(file, temporaryPrefix)
	rest, hasSuffix := strings.CutSuffix(rest, temporarySuffix)
	tag, name, hasTag := strings.Cut(rest, "-")
	return tag, name, hasPrefix && hasSuffix && hasTag
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// LockTimeout is the usual timeout. The lock is usually held for a few milliseconds.
const LockTimeout = 15 * time.Second

const lockRetryInterval = 20 * time.Millisecond

// Locked reports whether this process holds the lock.
func (d *Dir) Locked() bool { return d.lockFile != nil }

// Lock takes the lock until the directory is closed, and completes or undoes the last step of a process that was killed.
// note is what that process has noted. The lock is a file that only root can open: with a lock on the directory itself, any
// local user could block others, since flock(2) needs read access only.
func (d *Dir) Lock(ctx context.Context, timeout time.Duration) (note string, err error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	retry := time.NewTicker(lockRetryInterval)
	defer retry.Stop()
	for {
		note, err := d.tryLock()
		switch {
		case err != nil:
			return "", err
		case d.Locked():
			return note, d.Tidy()
		}
		select {
		case <-retry.C:
		case <-limited.Done():
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			return "", fmt.Errorf("lock %s: another halfclose install or uninstall is running: run this again when it has finished", d.path)
		}
	}
}

// tryLock takes the lock unless another process holds it. note is what a killed process has noted.
func (d *Dir) tryLock() (note string, err error) {
	f, err := d.open(lockName, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return "", err
	}
	d.Step("lock", lockName)
	err = hostfs.RetryErr(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return "", nil
		}
		return "", d.PathError("lock", lockName, err)
	}
	var opened unix.Stat_t
	named, err := d.Lstat(lockName)
	if err != nil || unix.Fstat(int(f.Fd()), &opened) != nil || opened.Ino != named.Ino {
		f.Close() // the process that held the lock has removed the file
		return "", nil
	}
	d.lockFile = f
	data, err := io.ReadAll(io.LimitReader(f, maxNote))
	return strings.TrimSpace(string(data)), d.PathError("read", lockName, err)
}

const maxNote = 255 // NAME_MAX

// unlock removes the lock file, if the lock is held. Runtimes reload the directory because of that: CRI-O after a write,
// containerd after a removal. They do not notice changes of drop-ins on their own.
func (d *Dir) unlock() {
	if !d.Locked() {
		return
	}
	defer d.lockFile.Close() // releases the lock
	d.Step("write", lockName)
	_, _ = d.lockFile.WriteString("\n")
	_ = d.Remove(lockName) // a file that is left is taken over by the next process
}

// Note writes a name to the lock file, for the next process if this one is killed. It needs the lock.
func (d *Dir) Note(text string) error {
	d.Step("write", lockName)
	if err := d.lockFile.Truncate(0); err != nil {
		return err
	}
	_, err := d.lockFile.WriteAt([]byte(text), 0)
	return err
}

// HasRemains reports whether a process that was killed, or that is running, has left temporary files.
func (d *Dir) HasRemains() bool {
	entries, err := d.Entries()
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		_, _, temporary := parseTemporary(e.Name())
		return temporary || e.Name() == lockName
	})
}

// Tidy completes or undoes the last step of a process that was killed. A file that was moved away and not yet verified goes
// back, since another process may have written it at that moment. It needs the lock, of this directory or its parent.
func (d *Dir) Tidy() error {
	entries, err := d.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		tag, name, temporary := parseTemporary(e.Name())
		switch {
		case !temporary:
		case tag == movedTag:
			err = d.moveBack(e.Name(), name)
		default:
			err = d.undoReplacement(e.Name(), name, tag)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// undoReplacement removes a replacement that was not put in place. If name already holds it, the temporary file is the
// old one, which goes back.
func (d *Dir) undoReplacement(tmp, name, sum string) error {
	current, err := d.read(name)
	if err != nil || digest(current.data) != sum {
		return d.Remove(tmp)
	}
	return d.undoExchange(tmp, name, current)
}
