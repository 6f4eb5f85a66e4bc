// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
)

// parse decodes the JSON output of a command. An unknown field fails the test.
func parse(t *testing.T, r result, into any) {
	t.Helper()
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	dec := json.NewDecoder(bytes.NewBufferString(r.stdout))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%v: %s", err, r.stdout)
	}
}

func statusOf(t *testing.T, w *world) (s api.Status) {
	t.Helper()
	parse(t, w.run(t, "status", "--output", "json"), &s)
	return s
}

func TestWhatIsPrintedAsJSONCanBeReadBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	w.add(t, network(t), c)
	s := w.AwaitStatus()
	conn := leak(t, c)

	printed := statusOf(t, w)
	if printed.Holder.PID != s.Holder.PID || printed.Finder.Name != os.Getenv(finderVar) || len(printed.Attachments) != 1 {
		t.Errorf("status: %+v", printed)
	}
	// Between fork and exec, a command that another test starts owns the sockets too.
	me := []owners.Process{self(t)}
	var list api.SocketList
	nstest.Eventually(t, testnode.Patience, "the test alone owns both sockets", func() bool {
		list = api.SocketList{}
		parse(t, w.run(t, "sockets", "--all", "--owners", "--output", "json"), &list)
		return len(list.Sockets) == 2 && !slices.ContainsFunc(list.Sockets, func(v api.SocketView) bool {
			return !cmp.Equal(me, v.Owners, cmpopts.IgnoreFields(owners.Process{}, "ContainerID"))
		})
	})
	for _, v := range list.Sockets {
		if v.Local == conn.LocalAddr().String() && (v.Verdict != policy.WithinGrace || v.Mode != policy.Destroy || v.Deadline == nil) {
			t.Errorf("the leak is %+v", v)
		}
	}
	var info buildinfo.Info
	parse(t, w.run(t, "version", "--output", "json"), &info)
	if info != s.Version || info.Version == "" {
		t.Errorf("version: %+v, of the reaper %+v", info, s.Version)
	}

	// sockets lists an unregistered namespace too.
	unregisteredContainer := newContainer(t, nil)
	other := leak(t, unregisteredContainer)
	var unregistered api.SocketList
	parse(t, w.run(t, "sockets", "--netns", unregisteredContainer.path, "-o", "json"), &unregistered)
	strange := unregistered.Sockets
	if len(strange) != 2 || strange[0].Verdict != policy.NotRegistered || strange[1].Verdict != policy.NotRegistered {
		t.Errorf("sockets of a namespace that is not registered: %+v", strange)
	}
	if err := other.SetNoDelay(true); err != nil {
		t.Errorf("its socket was destroyed: %v", err)
	}
}

func TestTablesShowThePodAndTheOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, map[string]string{"halfclose.cni/grace": "1s", "halfclose.cni/mode": "observe"})
	w.add(t, network(t), c)
	w.AwaitStatus()
	conn := leak(t, c)
	w.AwaitVerdict(testnode.ConnOf(conn), policy.WouldDestroy)
	status := w.run(t, "status")
	if status.code != 0 || !strings.Contains(status.stdout, "e2e/"+c.name) {
		t.Errorf("status: exit code %d\n%s%s", status.code, status.stdout, status.stderr)
	}
	sockets := w.run(t, "sockets", "--owners", "-o", "wide")
	for _, want := range []string{"e2e/" + c.name, "CLOSE_WAIT", conn.LocalAddr().String(), "the mode is observe", "e2e.test[" + strconv.Itoa(os.Getpid()) + "]"} {
		if !strings.Contains(sockets.stdout, want) {
			t.Errorf("sockets does not show %q:\n%s%s", want, sockets.stdout, sockets.stderr)
			break
		}
	}
}

func TestMistakesOnTheCommandLineAreOneLineAndExitTwo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tt := range []struct {
		name string
		args []string
		env  string
		want string // in the line
	}{
		{name: "unknown command", args: []string{"raeper"}, want: `"raeper"`},
		{name: "unknown flag", args: []string{"status", "--jsno"}, want: "--jsno"},
		{name: "unknown output format", args: []string{"status", "--output", "xml"}, want: `"xml"`},
		{name: "a time in the future", args: []string{"history", "--since", "2100-01-01T00:00:00Z"}, want: "--since 2100-01-01T00:00:00Z is in the future"},
		{name: "an unexpected argument", args: []string{"sockets", "web"}, want: `"web"`},
		{name: "unknown mode", args: []string{"reaper", "--mode", "destroyy"}, want: `"destroyy"`},
		{name: "unknown finder", args: []string{"reaper", "--finder", "ebpf"}, want: `"ebpf"`},
		{name: "an invalid duration", args: []string{"reaper", "--min-grace", "ten"}, want: "--min-grace"},
		{name: "a negative duration", args: []string{"reaper", "--idle-exit", "-1s"}, want: "--idle-exit"},
		{name: "more than a core", args: []string{"reaper", "--cpu-budget", "200%"}, want: "--cpu-budget"},
		{name: "a wrong value in the environment", args: []string{"reaper"}, env: "HALFCLOSE_LOG_FORMAT=xml", want: `"xml"`},
		{name: "an invalid number in the environment", args: []string{"reaper"}, env: "HALFCLOSE_MAX_DESTROYS_PER_SECOND=all", want: "HALFCLOSE_MAX_DESTROYS_PER_SECOND"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := w.command(tt.args...)
			if tt.env != "" {
				cmd.Env = append(cmd.Env, tt.env)
			}
			r := run(t, cmd)
			oneLine := strings.HasPrefix(r.stderr, "halfclose: ") && strings.Count(r.stderr, "\n") == 1
			if r.code != 2 || r.stdout != "" || !oneLine || !strings.Contains(r.stderr, tt.want) {
				t.Errorf("exit code %d, stdout %q, stderr:\n%s\nwant 2 and one line with %s", r.code, r.stdout, r.stderr, tt.want)
			}
		})
	}
}

func TestWithoutAReaperTheErrorIsOneLineWithTheRemedy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, command := range []string{"status", "sockets", "history", "history --follow"} {
		r := w.run(t, strings.Fields(command)...)
		history := ""
		if command == "history" { // which falls back to the files
			history = ", and " + filepath.Join(w.dir, "history") + " has no history"
		}
		want := "halfclose: no reaper is running: nothing listens on " + w.Store.SocketPath() + history + "; start one with \"halfclose reaper --state-dir "
		if r.code != 1 || r.stdout != "" || !strings.HasPrefix(r.stderr, want) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, stdout %q, stderr:\n%s", command, r.code, r.stdout, r.stderr)
		}
	}
	if r := w.run(t, "version"); r.code != 0 {
		t.Errorf("version needs a reaper: %s", r.stderr)
	}
}

func TestWithoutPermissionTheErrorIsOneLineWithTheRemedy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t)
	w.holds(t, p.PID())
	if err := os.Chmod(w.dir, 0o755); err != nil { // so that other users see the socket
		t.Fatal(err)
	}
	otherUser := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := (&exec.Cmd{Path: "/bin/true", SysProcAttr: otherUser}).Run(); err != nil {
		nstest.NeedPrivilege(t, "run a command as another user", err)
	}
	for _, command := range []string{"status", "sockets", "history", "history --follow", "mode", "mode observe"} {
		cmd := w.command(strings.Fields(command)...)
		cmd.SysProcAttr = otherUser
		r := run(t, cmd)
		want := "halfclose: " + w.Store.SocketPath() + " belongs to another user: run this as root\n"
		if r.code != 1 || r.stdout != "" || r.stderr != want {
			t.Errorf("%s: exit code %d, stdout %q, stderr:\n%s", command, r.code, r.stdout, r.stderr)
		}
	}
	if m := w.AwaitStatus().Mode; m.Switch != nil {
		t.Errorf("the switch is %+v", m.Switch)
	}
}
