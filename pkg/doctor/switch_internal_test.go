// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestTheSwitchIsJudgedByWhetherItCanBeReadAndSet(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name  string
		path  string
		wants []want
	}{
		{"none", filepath.Join(dir, "mode"), []want{{"switch", OK, "can stop all destroying", ""}}},
		{"none, nor a directory for it", filepath.Join(dir, "a/b/mode"), []want{{"switch", OK, "can stop all destroying", ""}}},
		{"one that is set", write("set", `{"mode": "observe", "who": "sre", "when": "2026-01-02T03:04:05Z"}`), []want{{"switch", OK, "can stop all destroying", ""}}},
		{"one that is spoilt", write("spoilt", `{"mode": "kill"}`), []want{{"switch", Warn, "every reaper observes only", "halfclose mode"}}},
		{"a directory", dir, []want{{"switch", Warn, "not a regular file", "halfclose mode"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := inspectSwitch(tt.path)
			if s.fs.kind == 0 {
				t.Error("it is not known what it is on")
			}
			s.fs = filesystem{kind: unix.EXT4_SUPER_MAGIC} // which the test's need not be
			expect(t, judgeSwitch(s), tt.wants...)
		})
	}
	denied := fmt.Errorf("read: %w", unix.EACCES)
	for _, tt := range []struct {
		name  string
		s     switchFile
		wants []want
	}{
		{"not for this user to set", switchFile{path: "/m", write: unix.EACCES}, []want{{"switch", Info, "cannot be set from here", "as root"}}},
		{"not for this user to see", switchFile{path: "/m", err: denied, write: unix.EACCES}, []want{{"switch", Warn, "permission denied", "run it as root"}, {"switch", Info, "", ""}}},
		{"on an image's layers", switchFile{path: "/var/lib/halfclose/mode", fs: filesystem{kind: unix.OVERLAYFS_SUPER_MAGIC}}, []want{{"switch", Warn, "goes with the container", "mount the host's /var/lib/halfclose"}}},
		{"on a tmpfs", switchFile{path: "/run/halfclose/mode", fs: filesystem{kind: unix.TMPFS_MAGIC}}, []want{{"switch", Info, "a reboot forgets", "HALFCLOSE_STATE_DIR"}}},
		{"on a read-only file system", switchFile{path: "/var/lib/halfclose/mode", write: unix.EROFS}, []want{{"switch", Warn, "read-only", "/var/lib/halfclose writable"}}},
	} {
		t.Run(tt.name, func(t *testing.T) { expect(t, judgeSwitch(tt.s), tt.wants...) })
	}
}

func TestWhatCapsTheModeIsTheReapersWordOrWhatIsSeenWithoutOne(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	observe := state.Switch{Mode: policy.Observe, Who: "sre", When: at}
	says := func(v api.ModeView) running {
		var r running
		r.status.Mode = v
		return r
	}
	none := running{err: errors.New("none runs")}
	for _, tt := range []struct {
		name string
		r    running
		s    switchFile
		d    destroy
		want want
	}{
		{name: "nothing", r: says(api.ModeView{Reaper: policy.Destroy}), want: want{"mode", OK, "nothing caps the mode: what each record says applies", ""}},
		{name: "a switch that says destroy", r: says(api.ModeView{Reaper: policy.Destroy, Switch: &state.Switch{Mode: policy.Destroy}}), want: want{"mode", OK, "nothing caps", ""}},
		{name: "a flag", r: says(api.ModeView{Reaper: policy.Observe}), want: want{"mode", Info, "the reaper's --mode is observe", "without --mode and HALFCLOSE_MODE"}},
		{name: "the switch", r: says(api.ModeView{Reaper: policy.Destroy, Switch: &observe}), want: want{"mode", Info, "the switch was set to observe by sre at 2026-01-02T03:04:05Z", "halfclose mode destroy"}},
		{name: "the kernel", r: says(api.ModeView{Reaper: policy.Destroy, KernelProblem: "no SOCK_DESTROY"}), want: want{"mode", Info, "no SOCK_DESTROY", "sock-destroy"}},
		{
			name: "all of them", r: says(api.ModeView{Reaper: policy.Off, SwitchProblem: "spoilt", KernelProblem: "k"}),
			want: want{"mode", Info, "the reaper's --mode is off; the switch cannot be read; k", "HALFCLOSE_MODE, and see to switch, and see to sock-destroy"},
		},
		{name: "the reaper knows better than what is seen here", r: says(api.ModeView{Reaper: policy.Destroy}), s: switchFile{set: true, value: observe}, want: want{"mode", OK, "", ""}},
		{name: "no reaper, nothing", r: none, want: want{"mode", OK, "no reaper was asked", ""}},
		{name: "a switch that was written by hand", r: none, s: switchFile{set: true, value: state.Switch{Mode: policy.Observe}}, want: want{"mode", Info, "the switch was set to observe by hand (", "halfclose mode destroy"}},
		{name: "no reaper, the switch", r: none, s: switchFile{set: true, value: observe}, want: want{"mode", Info, "set to observe by sre", "halfclose mode destroy"}},
		{name: "no reaper, a spoilt switch", r: none, s: switchFile{err: errors.New("spoilt")}, want: want{"mode", Info, "the switch cannot be read", "switch"}},
		{name: "no reaper, a switch that is not for this user", r: none, s: switchFile{err: &fs.PathError{Op: "open", Path: "/m", Err: unix.EACCES}}, want: want{"mode", Warn, "what caps the mode cannot be told", "run it as root"}},
		{name: "a reaper that has read the switch that is not for this user", r: says(api.ModeView{Reaper: policy.Destroy}), s: switchFile{err: unix.EACCES}, want: want{"mode", OK, "nothing caps", ""}},
		{name: "no reaper, the kernel", r: none, d: destroy{err: inetdiag.ErrUnsupported}, want: want{"mode", Info, "CONFIG_INET_DIAG_DESTROY", "sock-destroy"}},
		{name: "no reaper, and what this user may not says nothing of a reaper", r: none, d: destroy{err: inetdiag.ErrDenied}, want: want{"mode", OK, "", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) { expect(t, judgeMode(tt.r, tt.s, tt.d), tt.want) })
	}
}
