// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/state"
)

// modeOf runs halfclose mode -o json.
func modeOf(t *testing.T, code int, want, dir string, args ...string) printer.ModeReport {
	t.Helper()
	got, stdout, stderr := call(t, map[string]string{"SUDO_USER": "alice"}, append([]string{"mode", "-o", "json", "--state-dir", dir}, args...)...)
	if got != code || !strings.Contains(stderr, want) || want == "" && stderr != "" || strings.Count(stderr, "\n") > 1 {
		t.Errorf("mode %v: exit code %d, want %d; stderr %q, want %q", args, got, code, stderr, want)
	}
	var r printer.ModeReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v: %q", err, stdout)
	}
	return r
}

func TestModeWithoutAReaperSetsTheSwitchForTheNext(t *testing.T) {
	t.Parallel()
	dir := nstest.ShortDir(t)
	path := filepath.Join(dir, "mode")
	if diff := cmp.Diff(printer.ModeReport{SwitchFile: path}, modeOf(t, cmdline.Success, "", dir)); diff != "" {
		t.Errorf("before (-want +got)\n%s", diff)
	}
	set := modeOf(t, cmdline.Success, "", dir, "observe")
	all, err := state.LoadSwitches(path)
	stored, ok := all.Of(state.Scope{})
	if err != nil || !ok || stored.Mode != policy.Observe || stored.Who != "alice (sudo)" || stored.When.IsZero() {
		t.Errorf("stored is %+v, %v, %v", stored, ok, err)
	}
	want := printer.ModeReport{SwitchFile: path, Switch: &stored}
	if diff := cmp.Diff(want, set); diff != "" {
		t.Errorf("set (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want, modeOf(t, cmdline.Success, "", dir)); diff != "" {
		t.Errorf("later (-want +got)\n%s", diff)
	}
	runReaper(t, dir)
	if r := modeOf(t, cmdline.Success, "", dir); !r.Running || r.Effective != policy.Observe || r.Switch == nil || !r.Switch.When.Equal(stored.When) {
		t.Errorf("with a reaper it is %+v", r)
	}
}

func TestASwitchWrittenByHandIsReportedAsSuch(t *testing.T) {
	dir := nstest.ShortDir(t)
	if err := os.WriteFile(filepath.Join(dir, "mode"), []byte(`{"mode": "observe"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := call(t, nil, "mode", "-o", "wide", "--state-dir", dir)
	if code != cmdline.Success || stderr != "" || !strings.Contains(stdout, "observe, set by hand (in "+filepath.Join(dir, "mode")+")\n") {
		t.Errorf("exit code %d, stderr %q:\n%s", code, stderr, stdout)
	}
	view := api.ModeView{Effective: policy.Observe, Reaper: policy.Destroy, Switch: &state.Switch{Mode: policy.Observe}}
	if got := describe.Mode(view); got != "observe (the switch, set to observe by hand)" {
		t.Errorf("status prints %q", got)
	}
}

func TestModeReportsItsCaps(t *testing.T) {
	t.Parallel()
	t.Run("the reaper's --mode", func(t *testing.T) {
		dir := nstest.ShortDir(t)
		runReaper(t, dir, "--mode", "observe")
		r := modeOf(t, cmdline.Failure, "the switch is set to destroy, but the mode is observe because of the reaper's --mode observe (start it with --mode destroy)", dir, "destroy")
		if r.Effective != policy.Observe || r.Reaper != policy.Observe || r.Switch == nil || r.Switch.Mode != policy.Destroy {
			t.Errorf("it is %+v", r)
		}
		modeOf(t, cmdline.Success, "", dir, "observe")
	})
	t.Run("a reaper more conservative than requested", func(t *testing.T) {
		dir := nstest.ShortDir(t)
		runReaper(t, dir, "--mode", "off")
		modeOf(t, cmdline.Failure, "--mode off", dir, "observe")
	})
	t.Run("an unwritable switch", func(t *testing.T) {
		dir := nstest.ShortDir(t)
		runReaper(t, dir)
		if err := os.MkdirAll(filepath.Join(dir, "mode", "full"), 0o700); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := call(t, nil, "mode", "observe", "--state-dir", dir)
		if code != cmdline.Failure || stdout != "" || !strings.Contains(stderr, "write switch") ||
			!strings.Contains(stderr, "the mode is observe until this reaper exits") || !strings.HasSuffix(stderr, "(fix "+filepath.Join(dir, "mode")+" and set it again)\n") {
			t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
	})
	t.Run("an unwritable switch, without a reaper", func(t *testing.T) {
		dir := nstest.ShortDir(t)
		if err := os.MkdirAll(filepath.Join(dir, "mode", "full"), 0o700); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := call(t, nil, "mode", "observe", "--state-dir", dir)
		if code != cmdline.Failure || stdout != "" || !strings.HasSuffix(stderr, "(fix "+filepath.Join(dir, "mode")+" and set it again)\n") {
			t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
	})
	t.Run("a reaper that refuses and keeps destroying", func(t *testing.T) {
		dir := nstest.ShortDir(t)
		serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				http.Error(w, `{"error": "not today"}`, http.StatusBadRequest)
				return
			}
			writeJSON(t, w, apitest.QuietStatus())
		})
		code, stdout, stderr := call(t, nil, "mode", "observe", "--state-dir", dir)
		if code != cmdline.Failure || stdout != "" || !strings.Contains(stderr, "not today") ||
			!strings.Contains(stderr, "to stop destroying now, stop the reaper or start it with --mode observe") {
			t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
	})
	t.Run("all caps", func(t *testing.T) {
		got := capReasons(api.ModeView{
			Reaper: policy.Observe, Switch: &state.Switch{Mode: policy.Off, Who: "bob"}, SwitchProblem: "no switch", KernelProblem: "no kernel",
		}, policy.Destroy)
		want := []string{"the reaper's --mode observe (start it with --mode destroy)", "the switch, set to off by bob", "the unreadable switch: no switch", "the kernel: no kernel"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestModeListsThePodsThatAreMoreConservative(t *testing.T) {
	dir := nstest.ShortDir(t)
	s := apitest.QuietStatus()
	s.Attachments = apitest.ConservativeAttachments()
	var sent string
	serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			sent = r.URL.Path
			writeJSON(t, w, s.Mode)
			return
		}
		writeJSON(t, w, s)
	})
	code, stdout, stderr := call(t, nil, "mode", "destroy", "--state-dir", dir)
	if code != cmdline.Success || stderr != "" || sent != "/v1/mode" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if !strings.Contains(strings.Join(strings.Fields(stdout), " "), "6 attachments are more conservative by their own policy: shop/web-0 eth0 (observe)") {
		t.Errorf("got\n%s", stdout)
	}
}

func TestTheNameInTheSwitchIsBounded(t *testing.T) {
	for _, tt := range []struct{ sudo, want string }{
		{"alice", "alice (sudo)"},
		{strings.Repeat("ü", 60), strings.Repeat("ü", 50)},
		{strings.Repeat("a", 1<<20), strings.Repeat("a", 100)},
	} {
		e := &env{Printer: printer.Printer{Getenv: func(string) string { return tt.sudo }}}
		if got := e.who(); got != tt.want {
			t.Errorf("%.10q: got %q, want %q", tt.sudo, got, tt.want)
		}
	}
	e := &env{Printer: printer.Printer{Getenv: func(string) string { return "" }}}
	if got := e.who(); got == "" || strings.Contains(got, "sudo") {
		t.Errorf("without sudo it is %q", got)
	}
}
