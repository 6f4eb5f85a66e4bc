// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Switch is an operator's cap on the mode of this node's attachments, or of those in its Scope. It survives restarts and
// reboots.
type Switch struct {
	Scope             // zero: every attachment of this node
	Mode  policy.Mode `json:"mode"`
	Who   string      `json:"who"`  // the user who set it, for operators
	When  time.Time   `json:"when"` // by the wall clock
	// Until is when it ends, by the wall clock; zero is never.
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason,omitempty"` // the operator's, for other operators
}

// By returns the author, time, end and reason of the switch, as far as the file has them: an operator may have written it
// by hand. Times are local.
func (s Switch) By() string {
	by := s.Who
	if by == "" {
		by = "hand"
	}
	if !s.When.IsZero() {
		by += " at " + s.When.Local().Format(time.RFC3339)
	}
	if !s.Until.IsZero() {
		by += " until " + s.Until.Local().Format(time.RFC3339)
	}
	if s.Reason != "" {
		by += fmt.Sprintf(", reason %q", s.Reason)
	}
	return by
}

// InForce reports whether the switch caps anything at a time of the wall clock. A clock before the time of writing is
// wrong, and leaves the switch in force.
func (s Switch) InForce(now time.Time) bool {
	return s.Until.IsZero() || now.Before(s.Until) || now.Before(s.When)
}

const (
	switchFile = "mode"
	// defaultPersistentDir belongs to DefaultDir, and survives a reboot.
	defaultPersistentDir = "/var/lib/halfclose"
	// maxSwitchSize bounds the switch's file in bytes, for reading and for writing.
	maxSwitchSize = 1 << 20
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
