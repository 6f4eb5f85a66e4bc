// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Switch is the operator's cap on the mode of every attachment of this node. It survives restarts and reboots.
type Switch struct {
	Mode policy.Mode `json:"mode"`
	Who  string      `json:"who"`  // the user who set it, for operators
	When time.Time   `json:"when"` // by the wall clock
}

// By returns who set the switch and when, if the file has that: an operator may have written it by hand.
func (s Switch) By() string {
	by := s.Who
	if by == "" {
		by = "hand"
	}
	if !s.When.IsZero() {
		by += " at " + s.When.UTC().Format(time.RFC3339)
	}
	return by
}

const (
	switchFile = "mode"
	// defaultPersistentDir belongs to DefaultDir, and survives a reboot.
	defaultPersistentDir = "/var/lib/halfclose"
	// maxSwitchSize bounds the switch's file in bytes, for reading and for writing.
	maxSwitchSize = 64 << 10
)

// errNoMode is the error of a switch without a mode. The zero Mode is off, but no operator has set the switch to it.
var errNoMode = errors.New("no mode")

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

// LoadSwitch reads the switch, and reports whether it is set: without a file it is not. After an error the caller must be as
// conservative as mode observe, since the switch may have any mode.
func LoadSwitch(path string) (Switch, bool, error) {
	if unsafe, ok := errors.AsType[*UnsafeDirError](CheckDir(filepath.Dir(path))); ok {
		return Switch{}, false, fmt.Errorf("read switch %s: %w", path, unsafe)
	}
	s, err := loadSwitch(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = checkAbsent(path); err == nil {
			return Switch{}, false, nil
		}
	}
	if err != nil {
		return Switch{}, false, fmt.Errorf(
			`read switch %s: %w (write {"mode": "observe"}, "off" or "destroy" into the file, or delete it)`, path, err)
	}
	return s, true, nil
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

func loadSwitch(path string) (Switch, error) {
	data, err := hostfs.ReadFile(path, maxSwitchSize, 0)
	if err != nil {
		return Switch{}, err
	}
	return decodeSwitch(data)
}

// decodeSwitch parses a switch. Keys are case-sensitive, and none may be repeated. An unknown key, of a later version, may be
// more conservative than the mode, which matters only for destroy.
func decodeSwitch(data []byte) (Switch, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if !json.Valid(data) { // Unmarshal's error has the position
		return Switch{}, json.Unmarshal(data, new(any))
	}
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return Switch{}, errors.New("not a JSON object")
	}
	var s Switch
	known := map[string]any{"mode": &s.Mode, "who": &s.Who, "when": &s.When}
	var seen []string
	var unknown error
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return Switch{}, err
		}
		key, _ := token.(string)
		if slices.Contains(seen, key) {
			return Switch{}, fmt.Errorf("%.80q occurs more than once", key)
		}
		seen = append(seen, key)
		to, ok := known[key]
		if !ok {
			to, unknown = new(any), fmt.Errorf("unknown key %.80q: a newer version of halfclose may have written it", key)
		}
		if err := dec.Decode(to); err != nil {
			return Switch{}, fmt.Errorf("%.80q: %w", key, err)
		}
	}
	switch {
	case s.Mode == 0:
		return Switch{}, errNoMode
	case unknown != nil && s.Mode == policy.Destroy:
		return Switch{}, unknown
	}
	return s, nil
}

// StoreSwitch sets the switch and creates the directory. If it returns nil, the switch survives a power failure.
func StoreSwitch(path string, s Switch) error {
	if err := storeSwitch(path, s); err != nil {
		return fmt.Errorf("write switch: %w", err)
	}
	return nil
}

func storeSwitch(path string, s Switch) error {
	if s.Mode == 0 {
		return errNoMode
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if len(data) > maxSwitchSize {
		return fmt.Errorf("it has %d bytes, more than the limit of %d", len(data), maxSwitchSize)
	}
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return err
	}
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	if err := checkFD(fd, dir); err != nil {
		return err
	}
	return replaceIn(fd, filepath.Base(path), data, acrossReboots)
}
