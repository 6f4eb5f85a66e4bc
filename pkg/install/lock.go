// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

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

// The names of temporary files. Only a process that is killed leaves them behind. They begin with a dot, so no runtime
// loads them as long as they do not end in .conf, .conflist or .json.
const (
	// lockName is the lock file, which exists while an install or uninstall changes the directory. It holds the name of
	// the network whose drop-ins are being changed.
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

// lockTimeout bounds the wait for another install or uninstall, which usually takes a few milliseconds.
const lockTimeout = 15 * time.Second

const lockRetryInterval = 20 * time.Millisecond

func (d *directory) locked() bool { return d.lockFile != nil }

// lock excludes other installs and uninstalls until the directory is closed, and removes the remains of killed ones. The
// lock is a file that only root can open. With a lock on the directory itself, any local user could delay an
// installation, since flock(2) needs read access only.
func (d *directory) lock(ctx context.Context, timeout time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		left, err := d.tryLock()
		switch {
		case err != nil:
			return err
		case d.locked():
			return d.tidy(left)
		case sleep(limited, lockRetryInterval):
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			return fmt.Errorf("lock %s: another halfclose install or uninstall is running: run this again when it has finished", d.path)
		}
	}
}

// tryLock takes the lock unless another process holds it. network is what a killed process left in the lock file.
func (d *directory) tryLock() (network string, err error) {
	f, err := d.open(lockName, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return "", err
	}
	d.step("lock", lockName)
	err = hostfs.RetryErr(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return "", nil
		}
		return "", d.pathError("lock", lockName, err)
	}
	var opened unix.Stat_t
	named, err := d.lstat(lockName)
	if err != nil || unix.Fstat(int(f.Fd()), &opened) != nil || opened.Ino != named.Ino {
		f.Close() // the process that held the lock has removed the file
		return "", nil
	}
	d.lockFile = f
	data, err := io.ReadAll(io.LimitReader(f, maxNetworkName))
	return strings.TrimSpace(string(data)), d.pathError("read", lockName, err)
}

const maxNetworkName = 255 // NAME_MAX, since a directory has the network's name

// unlock removes the lock file, if the lock is held. Runtimes reload the directory because of that: CRI-O after a write,
// containerd after a removal. They do not notice changes of drop-ins on their own.
func (d *directory) unlock() {
	if !d.locked() {
		return
	}
	defer d.lockFile.Close() // releases the lock
	d.step("write", lockName)
	_, _ = d.lockFile.WriteString("\n")
	_ = d.remove(lockName) // a file that is left is taken over by the next process
}

// noteDropIns writes to the lock file whose drop-ins are about to change.
func (d *directory) noteDropIns(network string) error {
	d.step("write", lockName)
	if err := d.lockFile.Truncate(0); err != nil {
		return err
	}
	_, err := d.lockFile.WriteAt([]byte(network), 0)
	return err
}

// hasRemains reports whether a process that was killed, or that is running, has left temporary files.
func (d *directory) hasRemains() bool {
	entries, err := d.entries()
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		_, _, temporary := parseTemporary(e.Name())
		return temporary || e.Name() == lockName
	})
}

// tidy completes or undoes the last step of a process that was killed. It needs the lock. A file that was moved away and
// not yet verified goes back, since another process may have written it at that moment. network is the one whose
// drop-ins were being changed, or "".
func (d *directory) tidy(network string) error {
	entries, err := d.entries()
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
	if network == "" {
		return nil
	}
	return d.tidyDropIns(network)
}

// undoReplacement removes a replacement that was not put in place. If name already holds it, the temporary file is the
// old one, which goes back.
func (d *directory) undoReplacement(tmp, name, sum string) error {
	current, err := d.read(name)
	if err != nil || digest(current.data) != sum {
		return d.remove(tmp)
	}
	return d.undoExchange(tmp, name, current)
}
