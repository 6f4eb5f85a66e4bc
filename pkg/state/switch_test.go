// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestTheSwitchIsReadAsItWasSet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lib", "halfclose", "mode")
	if s, set, err := state.LoadSwitch(path); s != (state.Switch{}) || set || err != nil {
		t.Errorf("where there is none: %+v, %v, %v, want it not set", s, set, err)
	}
	for _, mode := range []policy.Mode{policy.Observe, policy.Destroy, policy.Off} {
		want := state.Switch{Mode: mode, Who: "root (uid 0)", When: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
		if err := state.StoreSwitch(path, want); err != nil {
			t.Fatal(err)
		}
		got, set, err := state.LoadSwitch(path)
		if err != nil || !set {
			t.Errorf("set %v, error %v, want it set", set, err)
		}
		if diff := compare(want, got); diff != "" {
			t.Errorf("switch (-want +got):\n%s", diff)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "{\n  \"mode\": \"off\",\n  \"who\": \"root (uid 0)\",\n  \"when\": \"2026-03-01T12:00:00Z\"\n}\n"
	if diff := compare(want, string(data)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the switch there is %v (%v), want nothing", entries, err)
	}
}

// Each of these counts as observe: the caller gets an error, and never "not set".
func TestAnInvalidSwitchIsAnError(t *testing.T) {
	const advice = `{"mode": "observe"}` // which TestASwitchThatAnOperatorWroteIsRead follows
	write := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	const whole = `{"mode": "destroy", "who": "root (uid 0)", "when": "2026-03-01T12:00:00Z"}`
	for name, make := range map[string]func(string) error{
		"empty":                                write(""),
		"blank":                                write(" \n"),
		"half-written":                         write(`{"mode":"observe"`),
		"half-written after the mode destroy":  write(whole[:len(whole)/2]),
		"of NUL bytes":                         write(strings.Repeat("\x00", len(whole))),
		"with NUL bytes at its end":            write(whole + "\x00\x00"),
		"with more after it":                   write(whole + whole),
		"with a byte order mark":               write("\xef\xbb\xbf" + whole),
		"without a mode":                       write(`{"who":"root"}`),
		"with a null mode":                     write(`{"mode":null}`),
		"with a wrong mode":                    write(`{"mode":"Observe"}`),
		"with a mode of a later version":       write(`{"mode":"destroy-peer-gone"}`),
		"with an empty mode":                   write(`{"mode":""}`),
		"with a number for a mode":             write(`{"mode":1}`),
		"with two modes":                       write(`{"mode":"observe","mode":"destroy"}`),
		"with a key that only looks like mode": write(`{"mode":"destroy","Mode":"observe"}`),
		"with only such a key":                 write(`{"MODE":"destroy"}`),
		"of a later version with exceptions":   write(`{"mode":"destroy","pods":{"shop/cart-0":"observe"}}`),
		"of a later version with a number":     write(`{"version":2,"mode":"destroy"}`),
		"with a wrong time":                    write(`{"mode":"destroy","when":"yesterday"}`),
		"with a wrong author":                  write(`{"mode":"destroy","who":[]}`),
		"of another type":                      write(`"observe"`),
		"a list":                               write(`[{"mode":"destroy"}]`),
		"null":                                 write("null"),
		"too large":                            write(whole + strings.Repeat(" ", 1<<20)),
		"a directory":                          func(path string) error { return os.Mkdir(path, 0o700) },
		"a FIFO":                               func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a device":                             func(path string) error { return os.Symlink("/dev/null", path) },
		"a socket":                             func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
		"a link to itself":                     func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"a link that leads nowhere":            func(path string) error { return os.Symlink("/nowhere/mode", path) },
		"below a link that leads nowhere": func(path string) error {
			return errors.Join(os.Remove(filepath.Dir(path)), os.Symlink("/nowhere", filepath.Dir(path)))
		},
		"below a file": func(path string) error {
			return errors.Join(os.Remove(filepath.Dir(path)), os.WriteFile(filepath.Dir(path), nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "halfclose", "mode")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			s, set, err := state.LoadSwitch(path)
			if s != (state.Switch{}) || set || err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), advice) {
				t.Errorf("LoadSwitch = %+v, %v, %v, want an error with the path and what belongs there", s, set, err)
			}
		})
	}
}

func TestASwitchIsNotSetWithoutItsDirectory(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "mode"), filepath.Join(dir, "a/b/mode"), filepath.Join(link, "mode"), filepath.Join(link, "a/mode")} {
		if s, set, err := state.LoadSwitch(path); s != (state.Switch{}) || set || err != nil {
			t.Errorf("%s: %+v, %v, %v, want that it is not set", path, s, set, err)
		}
	}
}

func TestAFailedWriteKeepsTheOldSwitch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	want := state.Switch{Mode: policy.Observe, Who: "root"}
	if err := state.StoreSwitch(path, want); err != nil {
		t.Fatal(err)
	}
	// What a StoreSwitch leaves that is killed before its rename.
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), state.TemporaryName(1)), []byte(`{"mode":"destroy"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, set, err := state.LoadSwitch(path); got != want || !set || err != nil {
		t.Errorf("LoadSwitch = %+v, %v, %v, want %+v", got, set, err, want)
	}
}

func TestASwitchThatAnOperatorWroteIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	if err := os.WriteFile(path, []byte(`{"mode": "observe"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, set, err := state.LoadSwitch(path); s != (state.Switch{Mode: policy.Observe}) || !set || err != nil {
		t.Errorf("LoadSwitch = %+v, %v, %v, want observe", s, set, err)
	}
}

func TestASwitchHasWhoSetItIfKnown(t *testing.T) {
	at := time.Date(2026, 3, 1, 13, 0, 0, 0, time.FixedZone("CET", 3600))
	for _, tt := range []struct {
		s    state.Switch
		want string
	}{
		{state.Switch{Who: "alice (sudo)", When: at}, "alice (sudo) at 2026-03-01T12:00:00Z"},
		{state.Switch{Who: "alice"}, "alice"},
		{state.Switch{When: at}, "hand at 2026-03-01T12:00:00Z"},
		{state.Switch{}, "hand"},
	} {
		if got := tt.s.By(); got != tt.want {
			t.Errorf("%+v was set by %q, want %q", tt.s, got, tt.want)
		}
	}
}

func TestASwitchThatDestroysNothingMayHaveUnknownKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	for _, want := range []policy.Mode{policy.Observe, policy.Off} {
		if err := os.WriteFile(path, []byte(`{"mode":"`+want.String()+`","later":[]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, set, err := state.LoadSwitch(path); s.Mode != want || !set || err != nil {
			t.Errorf("LoadSwitch = %+v, %v, %v, want %v", s, set, err, want)
		}
	}
}

func TestATooLargeSwitchIsNotSet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	want := state.Switch{Mode: policy.Observe, Who: "root"}
	if err := state.StoreSwitch(path, want); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []state.Switch{
		{},
		{Mode: 99},
		{Mode: policy.Destroy, Who: strings.Repeat("w", 1<<20)},
		{Mode: policy.Destroy, When: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if err := state.StoreSwitch(path, bad); err == nil {
			t.Errorf("StoreSwitch(%.80v): no error", bad)
		}
	}
	if got, set, err := state.LoadSwitch(path); got != want || !set || err != nil {
		t.Errorf("LoadSwitch = %+v, %v, %v, want %+v", got, set, err, want)
	}
	if err := state.StoreSwitch(filepath.Join(path, "below"), want); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("StoreSwitch below a file = %v, want ENOTDIR", err)
	}
}

func FuzzLoadSwitch(f *testing.F) {
	f.Add([]byte(`{"mode":"observe","who":"root","when":"2026-03-01T12:00:00Z"}`))
	f.Add([]byte(`{"mode":`))
	path := filepath.Join(f.TempDir(), "mode")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, set, err := state.LoadSwitch(path)
		if set != (err == nil) || set != (s.Mode != 0) {
			t.Errorf("LoadSwitch = %+v, %v, %v", s, set, err)
		}
	})
}
