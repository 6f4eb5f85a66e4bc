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

func TestASwitchThatIsWrongIsAnError(t *testing.T) {
	const advice = `{"mode": "observe"}` // which TestASwitchThatSomebodyWroteIsRead follows
	write := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	for name, make := range map[string]func(string) error{
		"empty":              write(""),
		"half-written":       write(`{"mode":"observe"`),
		"without a mode":     write(`{"who":"root"}`),
		"with a null mode":   write(`{"mode":null}`),
		"with a wrong mode":  write(`{"mode":"Observe"}`),
		"with an empty mode": write(`{"mode":""}`),
		"of another type":    write(`"observe"`),
		"null":               write("null"),
		"too large":          write(`{"mode":"observe"}` + strings.Repeat(" ", 64<<10)),
		"a directory":        func(path string) error { return os.Mkdir(path, 0o700) },
		"a FIFO":             func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a link to itself":   func(path string) error { return os.Symlink(filepath.Base(path), path) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "mode")
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

func TestASwitchThatSomebodyWroteIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	if err := os.WriteFile(path, []byte(`{"mode": "observe"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, set, err := state.LoadSwitch(path); s != (state.Switch{Mode: policy.Observe}) || !set || err != nil {
		t.Errorf("LoadSwitch = %+v, %v, %v, want observe", s, set, err)
	}
}

func TestASwitchSaysWhoSetItAsFarAsItKnows(t *testing.T) {
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

func TestASwitchMayHaveUnknownFields(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	if err := os.WriteFile(path, []byte(`{"mode":"observe","later":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, set, err := state.LoadSwitch(path); s.Mode != policy.Observe || !set || err != nil {
		t.Errorf("LoadSwitch = %+v, %v, %v, want observe", s, set, err)
	}
}

func TestASwitchThatCannotBeReadBackIsNotSet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	want := state.Switch{Mode: policy.Observe, Who: "root"}
	if err := state.StoreSwitch(path, want); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []state.Switch{
		{},
		{Mode: 99},
		{Mode: policy.Destroy, Who: strings.Repeat("w", 64<<10)},
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
