// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

func seconds(d time.Duration) *reaper.Seconds {
	s := reaper.Seconds(d)
	return &s
}

// hostile is a name that somebody chose to move the cursor, break the line, hide itself and ring the bell.
const hostile = "a\x1b[2J\tb\nc\u202ed\a\"\\"

// harmless is how it is shown.
const harmless = `a\x1b[2J\tb\nc\u202ed\a\"\\`

// aStatus has something of everything.
func aStatus() admin.Status {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	long := reaper.PolicyView(policy.Default())
	long.FinWait2Grace = policy.Never
	counts := func(closeWait, finWait2 int) map[string]int {
		return map[string]int{"CLOSE_WAIT": closeWait, "FIN_WAIT2": finWait2}
	}
	return admin.Status{
		Version: buildinfo.Info{Version: "v1.2.3"},
		Holder:  reaper.Holder{PID: 42, StartedBy: reaper.BySystemd, Since: at},
		Status: reaper.Status{
			Finder: reaper.FinderView{Name: "sockdiag", Sweeps: 1234, CPU: reaper.Seconds(5 * time.Second), Late: reaper.Seconds(90 * time.Second)},
			Mode: reaper.ModeView{
				Effective: policy.Observe, Reaper: policy.Observe,
				Switch: &state.Switch{Mode: policy.Observe, Who: hostile, When: at},
			},
			Budget:     reaper.BudgetView{PerSecond: 1000, Waiting: 3},
			Namespaces: 2,
			Candidates: counts(7, 1),
			Counts: reaper.Counts{
				Destroyed:    map[inetdiag.State]uint64{inetdiag.CloseWait: 10, inetdiag.FinWait2: 1},
				WouldDestroy: map[inetdiag.State]uint64{inetdiag.CloseWait: 2},
				Errors:       map[string]uint64{"EPERM": 4, "EIO": 1, "EOPNOTSUPP": 2},
			},
			Attachments: []reaper.AttachmentView{
				{
					Attachment: state.Attachment{ContainerID: "0123456789abcdef0123", IfName: "eth0"}, Network: "pods",
					Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Policy: reaper.PolicyView(policy.Default()), Mode: policy.Observe,
					CappedBy: []string{"the reaper's --mode observe"}, Candidates: counts(7, 1),
					Oldest: reaper.Seconds(3 * time.Hour), Destroyed: 11,
				},
				{
					Attachment: state.Attachment{ContainerID: "0123456789abcdef0123", IfName: "eth1"}, Network: "pods",
					Policy: reaper.PolicyView(long), Mode: policy.Off, Candidates: counts(0, 0), Warnings: []string{"annotation " + hostile + " is ignored"},
				},
				{
					Attachment: state.Attachment{ContainerID: "gone", IfName: "eth0"}, Network: "pods", Policy: reaper.PolicyView(long), Mode: policy.Off,
					Inert: "recorded before the last boot",
				},
			},
			Problems: []reaper.ProblemView{{File: hostile, Problem: "not a valid record"}},
		},
	}
}

func shown(t *testing.T, show func(*env) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := show(&env{out: &out}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestStatusTable(t *testing.T) {
	golden(t, "status", shown(t, func(e *env) error { return e.printStatus(aStatus()) }))
	t.Run("of a reaper with nothing to say", func(t *testing.T) {
		s := admin.Status{
			Version: buildinfo.Info{Version: "v1.2.3"}, Holder: reaper.Holder{PID: 42, StartedBy: reaper.ByPlugin, Since: time.Unix(0, 0).UTC()},
			Status: reaper.Status{
				Finder: reaper.FinderView{Name: "sockdiag"},
				Mode:   reaper.ModeView{Effective: policy.Destroy, Reaper: policy.Destroy},
			},
		}
		golden(t, "status-empty", shown(t, func(e *env) error { return e.printStatus(s) }))
	})
}

func TestSocketsTable(t *testing.T) {
	views := []reaper.SocketView{
		{
			Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Local: "10.0.0.2:443", Peer: "10.0.0.3:50000", State: inetdiag.CloseWait,
			Age: seconds(10 * time.Minute), Idle: seconds(90 * time.Second), RQueue: 1, WQueue: 0, Verdict: policy.Young,
			Why: "half-closed for 10m of its 1h grace", Owners: []owners.Process{{PID: 7, Command: "nginx"}, {PID: 8, Command: hostile}},
		},
		{
			ContainerID: "0123456789abcdef0123", Local: "[fd00::2]:443", Peer: "[fd00::3]:50000", State: inetdiag.Established,
			RQueue: 4294967295, Verdict: policy.NotHalfClosed, Why: "ESTABLISHED is not half-closed",
		},
		{Local: "127.0.0.1:1", Peer: "127.0.0.1:2", State: inetdiag.FinWait2, Verdict: policy.Orphan, Why: hostile},
	}
	golden(t, "sockets", shown(t, func(e *env) error { return e.printSockets(views, false) }))
	golden(t, "sockets-owners", shown(t, func(e *env) error { return e.printSockets(views, true) }))
	golden(t, "sockets-empty", shown(t, func(e *env) error { return e.printSockets(nil, false) }))
}

func TestNamesFromOutsideCannotActOnTheTerminal(t *testing.T) {
	for text, want := range map[string]string{
		hostile:          harmless,
		"web-1":          "web-1",
		`say "hi"`:       `say "hi"`, // harmless as it is
		"übergröße":      "übergröße",
		"\xff\"":         `\xff\"`,
		"\u2028\u200b":   `\u2028\u200b`,
		"":               "",
		"trailing\r":     `trailing\r`,
		"\x9b31m":        `\x9b31m`,
		"two  spaces  ,": "two  spaces  ,",
	} {
		if got := clean(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	all := shown(t, func(e *env) error { return e.printStatus(aStatus()) })
	if strings.ContainsAny(all, "\x1b\t\a\u202e") {
		t.Errorf("it is shown as it is:\n%q", all)
	}
}
