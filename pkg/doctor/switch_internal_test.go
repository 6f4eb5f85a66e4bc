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

func TestTheSwitchIsCheckedForReadAndWriteAccess(t *testing.T) {
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
		{"none", filepath.Join(dir, "mode"), []want{{"switch", OK, "can stop all destroys", ""}}},
		{"neither a switch nor its directory", filepath.Join(dir, "a/b/mode"), []want{{"switch", OK, "can stop all destroys", ""}}},
		{"one that is set", write("set", `{"mode": "observe", "who": "sre", "when": "2026-01-02T03:04:05Z"}`), []want{{"switch", OK, "can stop all destroys", ""}}},
		{"an invalid one", write("invalid", `{"mode": "kill"}`), []want{{"switch", Warn, "every reaper only observes", "halfclose mode"}}},
		{"a directory", dir, []want{{"switch", Warn, "not a regular file", "halfclose mode"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := inspectSwitch(tt.path)
			if s.fs.kind == 0 {
				t.Error("its file system is unknown")
			}
			s.fs = filesystem{kind: unix.EXT4_SUPER_MAGIC} // the test's may be another
			expect(t, reportSwitch(s), tt.wants...)
		})
	}
	denied := fmt.Errorf("read: %w", unix.EACCES)
	for _, tt := range []struct {
		name  string
		s     switchFile
		wants []want
	}{
		{"one that this user cannot set", switchFile{path: "/m", write: unix.EACCES}, []want{{"switch", Info, "cannot be set from here", "as root"}}},
		{"one that this user cannot read", switchFile{path: "/m", err: denied, write: unix.EACCES}, []want{{"switch", Warn, "permission denied", "run it as root"}, {"switch", Info, "", ""}}},
		{"on an image's layers", switchFile{path: "/var/lib/halfclose/mode", fs: filesystem{kind: unix.OVERLAYFS_SUPER_MAGIC}}, []want{{"switch", Warn, "is lost with the container", "mount the host's /var/lib/halfclose"}}},
		{"on a tmpfs", switchFile{path: "/run/halfclose/mode", fs: filesystem{kind: unix.TMPFS_MAGIC}}, []want{{"switch", Info, "a reboot resets", "HALFCLOSE_STATE_DIR"}}},
		{"on a read-only file system", switchFile{path: "/var/lib/halfclose/mode", write: unix.EROFS}, []want{{"switch", Warn, "read-only", "/var/lib/halfclose writable"}}},
	} {
		t.Run(tt.name, func(t *testing.T) { expect(t, reportSwitch(tt.s), tt.wants...) })
	}
}

func TestTheModesCapsAreTheReapersOrDerivedWithoutOne(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	observe := state.Switch{Mode: policy.Observe, Who: "sre", When: at}
	runs := func(v api.ModeView) running {
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
		{name: "nothing", r: runs(api.ModeView{Reaper: policy.Destroy}), want: want{"mode", OK, "nothing caps the mode: each record's policy applies", ""}},
		{name: "a switch that is set to destroy", r: runs(api.ModeView{Reaper: policy.Destroy, Switch: &state.Switch{Mode: policy.Destroy}}), want: want{"mode", OK, "nothing caps", ""}},
		{name: "a flag", r: runs(api.ModeView{Reaper: policy.Observe}), want: want{"mode", Info, "the reaper's --mode observe", "without --mode and HALFCLOSE_MODE"}},
		{name: "the switch", r: runs(api.ModeView{Reaper: policy.Destroy, Switch: &observe}), want: want{"mode", Info, "the switch, set to observe by sre at 2026-01-02T03:04:05Z", "halfclose mode destroy"}},
		{name: "the kernel", r: runs(api.ModeView{Reaper: policy.Destroy, KernelProblem: "no SOCK_DESTROY"}), want: want{"mode", Info, "no SOCK_DESTROY", "sock-destroy"}},
		{
			name: "all of them", r: runs(api.ModeView{Reaper: policy.Off, SwitchProblem: "spoilt", KernelProblem: "k"}),
			want: want{"mode", Info, "the reaper's --mode off; the unreadable switch: spoilt; the kernel: k", "HALFCLOSE_MODE, and fix switch, and fix sock-destroy"},
		},
		{name: "the reaper's caps have priority", r: runs(api.ModeView{Reaper: policy.Destroy}), s: switchFile{now: state.Switches{Node: &observe}}, want: want{"mode", OK, "", ""}},
		{name: "no reaper, nothing", r: none, want: want{"mode", OK, "no reaper answered", ""}},
		{name: "a switch that was written by hand", r: none, s: switchFile{now: state.Switches{Node: &state.Switch{Mode: policy.Observe}}}, want: want{"mode", Info, "the switch, set to observe by hand (", "halfclose mode destroy"}},
		{name: "no reaper, the switch", r: none, s: switchFile{now: state.Switches{Node: &observe}}, want: want{"mode", Info, "set to observe by sre", "halfclose mode destroy"}},
		{name: "no reaper, the switch of a pod", r: none, s: switchFile{now: state.Switches{Scoped: []state.Switch{{
			Scope: state.Scope{Namespace: "shop", Pod: "web"}, Mode: policy.Observe, Who: "sre",
		}}}}, want: want{"mode", Info, "the switch of pod shop/web, set to observe by sre", "the same --pod"}},
		{name: "no reaper, a spoilt switch", r: none, s: switchFile{err: errors.New("spoilt")}, want: want{"mode", Info, "the unreadable switch", "switch"}},
		{name: "no reaper, a switch that this user cannot read", r: none, s: switchFile{err: &fs.PathError{Op: "open", Path: "/m", Err: unix.EACCES}}, want: want{"mode", Warn, "cannot determine what caps the mode", "run it as root"}},
		{name: "a reaper, and a switch that this user cannot read", r: runs(api.ModeView{Reaper: policy.Destroy}), s: switchFile{err: unix.EACCES}, want: want{"mode", OK, "nothing caps", ""}},
		{name: "no reaper, the kernel", r: none, d: destroy{err: inetdiag.ErrUnsupported}, want: want{"mode", Info, "CONFIG_INET_DIAG_DESTROY", "sock-destroy"}},
		{name: "no reaper, and a missing privilege of this user", r: none, d: destroy{err: inetdiag.ErrDenied}, want: want{"mode", OK, "", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) { expect(t, reportMode(tt.r, tt.s, tt.d), tt.want) })
	}
}
