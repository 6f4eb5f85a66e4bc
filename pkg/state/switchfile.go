// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/policy"
)

const (
	switchFile = "mode"
	// defaultPersistentDir belongs to DefaultDir, and survives a reboot.
	defaultPersistentDir = "/var/lib/halfclose"
)

// PersistentDir returns the directory of the files that survive a reboot: /var/lib/halfclose if the state directory dir is
// DefaultDir, which a reboot empties; otherwise dir.
func PersistentDir(dir string) string {
	if dir = filepath.Clean(dir); dir == DefaultDir {
		return defaultPersistentDir
	}
	return dir
}

// SwitchPath returns the file of the switch: the file mode in PersistentDir(dir).
func SwitchPath(dir string) string { return filepath.Join(PersistentDir(dir), switchFile) }

// LoadSwitches reads all switches, ended ones included. Without a file there are none. After an error the caller must
// be as conservative as mode observe for every attachment, and as the switches that could be read.
func LoadSwitches(path string) (Switches, error) {
	if unsafe, ok := errors.AsType[*UnsafeDirError](CheckDir(filepath.Dir(path))); ok {
		return Switches{}, fmt.Errorf("read switch %s: %w", path, unsafe)
	}
	s, err := loadSwitches(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = checkAbsent(path); err == nil {
			return Switches{}, nil
		}
	}
	if err != nil {
		return s, fmt.Errorf(
			`read switch %s: %w (write {"mode": "observe"}, "off" or "destroy" into the file, or delete it)`, path, err)
	}
	return s, nil
}

// checkAbsent returns an error if a symbolic link on the way to an absent file is dangling: the file may exist once a file
// system is mounted at the link's target.
func checkAbsent(path string) error {
	for {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			if err == nil {
				_, err = os.Stat(path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("dangling symbolic link %s", path)
			}
			return err
		}
		path = filepath.Dir(path)
	}
}

func loadSwitches(path string) (Switches, error) {
	data, err := hostfs.ReadFile(path, maxSwitchSize, 0)
	if err != nil {
		return Switches{}, err
	}
	return decodeSwitches(data)
}

// StoreSwitch sets one switch, creates the directory, and removes the switches that have ended. Mode destroy removes the
// switch of a pod, a namespace or a container. If StoreSwitch returns nil, the switch survives a power failure.
//
// A damaged file is replaced by a switch of the node, and by the narrower switches that can be read. A narrower switch would
// make the node less conservative than the damaged file does, and is an error.
func StoreSwitch(path string, sw Switch) error {
	if err := storeSwitch(path, sw, time.Now()); err != nil {
		return fmt.Errorf("write switch: %w", err)
	}
	return nil
}

func storeSwitch(path string, sw Switch, now time.Time) error {
	if sw.Mode == 0 {
		return errNoMode
	}
	if err := sw.Check(); err != nil {
		return err
	}
	fd, err := openDirOf(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := lockSwitches(fd, sw.Mode); err != nil {
		return &fs.PathError{Op: "lock", Path: filepath.Dir(path), Err: err}
	}
	had, err := LoadSwitches(path)
	switch {
	case err != nil && !sw.IsNode():
		return fmt.Errorf("the switch of %s alone cannot be set: %w", sw.ScopeName(), err)
	case err != nil:
		had.Node = nil
	}
	has := had.At(now).With(sw)
	if len(has.Scoped) > MaxScoped {
		return fmt.Errorf("%d switches are set, which is the limit: lift some with \"halfclose mode destroy --pod\", or set one for the namespace or the node", MaxScoped)
	}
	data, err := encodeSwitches(has)
	if err != nil {
		return err
	}
	return replaceIn(fd, filepath.Base(path), data, acrossReboots)
}

// switchLockPatience bounds the wait for another writer of the switches: a reaper that is stopped may be one.
const switchLockPatience = 2 * time.Second

// lockSwitches locks the directory of the switches against other writers, until its descriptor is closed. A conservative
// switch is written without the lock if another writer keeps it: the other writer's switch may be lost then.
func lockSwitches(dir int, m policy.Mode) error {
	const poll = 10 * time.Millisecond
	deadline, tick := time.Now().Add(switchLockPatience), time.NewTicker(poll)
	defer tick.Stop()
	for ; ; <-tick.C {
		err := unix.Flock(dir, unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK), time.Now().After(deadline):
			if m != policy.Destroy {
				return nil
			}
			return os.NewSyscallError("flock", err)
		}
	}
}
