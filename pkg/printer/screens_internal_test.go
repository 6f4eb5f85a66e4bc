// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// ofOnePod returns the status of one pod: its policy has many sources, an unreadable record caps it, and an annotation is
// wrong.
func ofOnePod() api.Status {
	layers := policy.Layers{
		Network: policy.Layer{
			Source: "the network pods", Values: policy.Values{Grace: new(policy.Patience(30 * time.Minute)), ProbeAfter: new(policy.Patience(time.Minute))},
			Rules: []policy.Rule{{Match: policy.Match{Role: policy.RoleClient}, Values: policy.Values{Grace: new(policy.Patience(2 * time.Minute)), Above: new(100)}}},
		},
		Annotations: map[string]string{"halfclose.cni/grace": "1d", "halfclose.cni/exempt": `[{"commands": ["postgres"]}]`},
	}
	r := layers.Resolve(time.Second)
	s := apitest.QuietStatus()
	s.Attachments = []api.AttachmentView{{
		Attachment: state.Attachment{ContainerID: "0123456789abcdef0123", IfName: "eth0"}, Network: "pods", Pod: state.Pod{Namespace: "shop", Name: "web-1"},
		Policy: api.PolicyView(r.Policies[0]), Sources: r.Sources, Mode: policy.Observe, Candidates: map[string]int{"CLOSE_WAIT": 1, "FIN_WAIT2": 0},
		CappedBy:  []string{`the file "fedcba@eth1.4711.json": not a valid record: unexpected end of JSON input`},
		BlockedBy: []api.ProblemView{{File: "fedcba@eth1.4711.json", Problem: "not a valid record: unexpected end of JSON input"}}, Warnings: r.Problems,
	}}
	return s
}

// shows returns every output in lines.
func shows() map[string]func(*Printer) error {
	return map[string]func(*Printer) error{
		"status": func(p *Printer) error { return p.PrintStatus(new(apitest.Status()), StatusParts{}, Findings{}) },
		"status-pod": func(p *Printer) error {
			return p.PrintStatus(new(ofOnePod()), StatusParts{All: true, Policies: true}, Findings{})
		},
		"status-empty":   func(p *Printer) error { return p.PrintStatus(new(apitest.QuietStatus()), StatusParts{}, Findings{}) },
		"status-crowded": func(p *Printer) error { return p.PrintStatus(new(apitest.CrowdedStatus()), StatusParts{}, Findings{}) },
		"sockets":        func(p *Printer) error { return printSockets(p, false, apitest.Sockets()...) },
		"sockets-owners": func(p *Printer) error { return printSockets(p, true, apitest.Sockets()...) },
		"sockets-empty":  func(p *Printer) error { return printSockets(p, false) },
		"history":        func(p *Printer) error { return printEntries(p, apitest.Entries()...) },
		"history-empty":  func(p *Printer) error { return printEntries(p) },
		"mode": func(p *Printer) error {
			return p.PrintMode(new(NewModeReport(apitest.Status().Mode, apitest.Status().Attachments)))
		},
		"mode-destroy": func(p *Printer) error {
			return p.PrintMode(new(NewModeReport(apitest.QuietStatus().Mode, apitest.CrowdedStatus().Attachments)))
		},
		"mode-conservative": func(p *Printer) error {
			return p.PrintMode(new(NewModeReport(apitest.QuietStatus().Mode, apitest.ConservativeAttachments())))
		},
		"mode-problems": func(p *Printer) error {
			return p.PrintMode(new(NewModeReport(api.ModeView{
				Effective: policy.Observe, Reaper: policy.Destroy, SwitchFile: "/s/mode", SwitchProblem: "read switch /s/mode: no mode",
				KernelProblem: "probe SOCK_DESTROY: not supported by this kernel",
			}, nil)))
		},
		"mode-no-reaper": func(p *Printer) error {
			return p.PrintMode(&ModeReport{SwitchFile: "/s/mode", Switch: &state.Switch{Mode: policy.Observe, Who: "alice (sudo)", When: apitest.Then()}})
		},
	}
}

// TestWholeScreens compares the outputs that an operator sees first with golden texts.
func TestWholeScreens(t *testing.T) {
	for _, name := range []string{"status", "status-pod", "sockets", "history", "mode"} {
		t.Run(name, func(t *testing.T) { golden.Text(t, name, shown(t, shows()[name])) })
	}
	t.Run("sockets-owners-40", func(t *testing.T) {
		golden.Text(t, "sockets-owners-40", shownAt(t, 40, shows()["sockets-owners"]))
	})
}

func TestOutputFitsScreensOfAnyWidth(t *testing.T) {
	for name, show := range shows() {
		for _, width := range []int{20, 40, 60, 80, 100, 132, 200, 400} {
			t.Run(name+" "+strconv.Itoa(width), func(t *testing.T) { termtest.CheckWidth(t, width, shownAt(t, width, show)) })
		}
	}
}

// TestOutputWithoutTables checks outputs line by line, on a screen that fits each in one line.
func TestOutputWithoutTables(t *testing.T) {
	for name, want := range map[string][]string{
		"sockets-empty": {"POD  STATE  LOCAL  PEER  AGE  IDLE  RECV-Q  SEND-Q  VERDICT  WHY"},
		"history-empty": {"TIME  OUTCOME  POD  STATE  LOCAL  PEER  AGE  IDLE  GRACE  LATE  RECV-Q  SEND-Q  OWNERS"},
		"mode-destroy": {
			"Mode      destroy", "Switch    not set (in /var/lib/halfclose/mode)", "Reaper    destroy (--mode)", "Kernel    lets sockets be destroyed",
		},
		"mode-conservative": {
			"Mode      destroy", "Switch    not set (in /var/lib/halfclose/mode)", "Reaper    destroy (--mode)", "Kernel    lets sockets be destroyed",
			"Note      6 attachments are more conservative by their own policy: shop/web-0 eth0 (observe), shop/web-1 eth0 (off), " +
				"shop/web-4 eth0 (observe), shop/web-5 eth0 (observe), shop/web-6 eth0 (observe) and 1 more",
		},
		"mode-problems": {
			"Mode      observe", "Switch    cannot be read, which counts as observe: read switch /s/mode: no mode (in /s/mode)",
			"Reaper    destroy (--mode)", "Kernel    observe: probe SOCK_DESTROY: not supported by this kernel",
		},
		"mode-no-reaper": {
			"Mode      no reaper is running; the switch applies when one starts",
			"Switch    observe, set by alice (sudo) at 2026-01-02T03:04:05Z (in /s/mode)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := slices.Collect(strings.Lines(shownAt(t, 0, shows()[name])))
			if diff := cmp.Diff(strings.Join(want, "\n")+"\n", strings.Join(got, "")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestStatusOfManyAttachmentsListsThoseWithSockets(t *testing.T) {
	got := shown(t, func(p *Printer) error { return p.PrintStatus(new(apitest.CrowdedStatus()), StatusParts{}, Findings{}) })
	_, table, _ := strings.Cut(got, "\n\n")
	table, _, _ = strings.Cut(table, "\n\n")
	want := `POD          CLOSE_WAIT  FIN_WAIT2  OLDEST  OVERDUE  DESTROYED  MODE      GRACE
shop/web-17       26123          0      3s        0          0  observe*  1h
shop/web-3            0          5      7s        0          0  observe*  1h
shop/web-20           0          0       -        0          0  observe*  1h
All of these are eth0 in network pods. 27 quiet attachments are not listed;
--all lists them.`
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestStatusOfANodeWithoutAttachments(t *testing.T) {
	got := shown(t, func(p *Printer) error { return p.PrintStatus(new(apitest.QuietStatus()), StatusParts{}, Findings{}) })
	for _, want := range []string{"Mode      destroy\n", "Found     0 CLOSE_WAIT, 0 FIN_WAIT2 in 0 namespaces\n", "\nPOD  CLOSE_WAIT  FIN_WAIT2  OLDEST  OVERDUE  DESTROYED  MODE  GRACE\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestWideTablesHaveOneLinePerRow(t *testing.T) {
	wide := func(name string) []string {
		return slices.Collect(strings.Lines(shown(t, func(p *Printer) error {
			p.Format = Wide
			return shows()[name](p)
		})))
	}
	sockets, history := wide("sockets-owners"), wide("history")
	if len(sockets) != 1+len(apitest.Sockets()) || len(history) != 1+len(apitest.Entries()) {
		t.Fatalf("%d lines of sockets and %d of history", len(sockets), len(history))
	}
	if got, want := strings.Join(strings.Fields(sockets[0]), " "), "POD STATE LOCAL PEER AGE IDLE RECV-Q SEND-Q VERDICT WHY PEER-ASKED OWNERS"; got != want {
		t.Errorf("the columns are %s, want %s", got, want)
	}
	for i, v := range apitest.Sockets() {
		for _, want := range []string{describe.Pod(v.Pod, v.ContainerID), v.State.String(), v.Local, v.Peer, v.Verdict.String(), safetext.Escape(v.Why), safetext.Escape(describe.Owners(v.Owners))} {
			if !strings.Contains(sockets[1+i], want) {
				t.Errorf("%q is not in %s", want, sockets[1+i])
			}
		}
	}
	for i, en := range apitest.Entries() {
		for _, want := range []string{en.Outcome, describe.Pod(en.Pod, en.ContainerID), en.State.String(), en.Local.String(), en.Peer.String(), safetext.Escape(describe.Owners(en.Owners))} {
			if !strings.Contains(history[1+i], want) {
				t.Errorf("%q is not in %s", want, history[1+i])
			}
		}
	}
}

func TestJSONOutputHasEveryField(t *testing.T) {
	for name, v := range map[string]any{
		"status":  apitest.Status(),
		"sockets": api.SocketList{Sockets: apitest.Sockets(), Problems: []string{apitest.Hostile}},
		"history": apitest.Page(),
	} {
		t.Run(name, func(t *testing.T) {
			apitest.CheckJSONOf(t, shown(t, func(p *Printer) error { return printJSON(p.Out, v) }), v)
		})
	}
	t.Run("mode", func(t *testing.T) {
		s := apitest.Status()
		list := apitest.CrowdedStatus().Attachments[:1]
		list[0].Policy.Mode = policy.Off
		apitest.CheckJSON(t, shown(t, func(p *Printer) error { p.Format = JSON; return p.PrintMode(new(NewModeReport(s.Mode, list))) }), map[string]any{
			"running": true, "effective": "observe", "reaper": "observe", "switchFile": "/var/lib/halfclose/mode",
			"switch.mode": "observe", "switch.who": apitest.Hostile, "switch.when": "2026-01-02T03:04:05Z",
			"moreConservative.0.containerID": "c0", "moreConservative.0.ifname": "eth0", "moreConservative.0.mode": "off",
			"moreConservative.0.pod.namespace": "shop", "moreConservative.0.pod.name": "web-0",
		})
	})
	t.Run("mode without a reaper", func(t *testing.T) {
		r := ModeReport{SwitchFile: "/s/mode", Switch: &state.Switch{Mode: policy.Observe, Who: apitest.Hostile, When: apitest.Then()}}
		apitest.CheckJSON(t, shown(t, func(p *Printer) error { p.Format = JSON; return p.PrintMode(&r) }), map[string]any{
			"running": false, "switchFile": "/s/mode", "switch.mode": "observe", "switch.who": apitest.Hostile, "switch.when": "2026-01-02T03:04:05Z",
		})
	})
}

func TestControlCharactersAreEscaped(t *testing.T) {
	for name, show := range shows() {
		got := shown(t, show)
		if strings.ContainsAny(got, "\x1b\t\a\u202e") {
			t.Errorf("%s has some:\n%q", name, got)
		}
	}
}

func TestFindingsWithTheSameAdviceShareIt(t *testing.T) {
	var list Findings
	list.AddStatus("", &api.Status{ReaperStatus: api.ReaperStatus{Attachments: []api.AttachmentView{
		{Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Attachment: state.Attachment{IfName: "eth0"}, Warnings: []string{"one", "two"}},
		{Pod: state.Pod{Namespace: "shop", Name: "web-2"}, Attachment: state.Attachment{IfName: "eth0"}, Warnings: []string{"three"}, Problem: "broken"},
	}}})
	got := shownAt(t, 0, func(p *Printer) error { return p.PrintFindings(&list) })
	want := `
! shop/web-1 eth0: one
! shop/web-1 eth0: two
  > correct the annotation or the network configuration, and recreate the pod: an attachment keeps its policy

! shop/web-2 eth0: broken
  > the reaper retries; if this lasts, see its log

! shop/web-2 eth0: three
  > correct the annotation or the network configuration, and recreate the pod: an attachment keeps its policy
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestStatusReportsPluginsAndCommandsOfAnotherBuild(t *testing.T) {
	reaperBuild, newer := buildinfo.Build{Version: "v1.2.3", Commit: "abc"}, buildinfo.Build{Version: "v1.2.4", Commit: "def"}
	record := func(minute int, b buildinfo.Build) api.AttachmentView {
		return api.AttachmentView{Recorded: apitest.Then().Add(time.Duration(minute) * time.Minute), Plugin: b}
	}
	for _, tt := range []struct {
		name    string
		records []api.AttachmentView
		command buildinfo.Build
		want    string
	}{
		{"no records", nil, reaperBuild, ""},
		{"the same build", []api.AttachmentView{record(0, reaperBuild)}, reaperBuild, ""},
		{"the plugin was upgraded", []api.AttachmentView{record(2, newer), record(1, reaperBuild)}, reaperBuild, "the plugin is v1.2.4 (commit def), and the reaper is v1.2.3 (commit abc)"},
		{"both were upgraded", []api.AttachmentView{record(1, newer), record(2, reaperBuild)}, reaperBuild, ""},
		{"the newest record has no build", []api.AttachmentView{record(1, newer), record(2, buildinfo.Build{})}, reaperBuild, "the plugin is v1.2.4"},
		{"no record has a build", []api.AttachmentView{record(1, buildinfo.Build{})}, reaperBuild, ""},
		{"the reaper is older than the field", []api.AttachmentView{record(1, buildinfo.Build{})}, newer, "this command is v1.2.4 (commit def), and the reaper is v1.2.3 (commit abc)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var list Findings
			list.AddBuilds("", &api.Status{
				Version:      buildinfo.Info{Version: reaperBuild.Version, Commit: reaperBuild.Commit},
				ReaperStatus: api.ReaperStatus{Attachments: tt.records},
			}, tt.command)
			got := shownAt(t, 0, func(p *Printer) error { return p.PrintFindings(&list) })
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
			if tt.want != "" && !strings.Contains(got, `"halfclose install" for the plugin`) {
				t.Errorf("got %q, without advice", got)
			}
		})
	}
}

func TestAWarningThatNoReaperRanIsReportedAsPast(t *testing.T) {
	var list Findings
	list.AddStatus("", &api.Status{ReaperStatus: api.ReaperStatus{Attachments: []api.AttachmentView{
		{Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Attachment: state.Attachment{IfName: "eth0"}, Warnings: []string{state.WarnNoReaper + ", and ADD cannot start one: x"}},
	}}})
	got := shownAt(t, 0, func(p *Printer) error { return p.PrintFindings(&list) })
	if !strings.Contains(got, "when it was registered: no reaper runs") || !strings.Contains(got, "a reaper is running now") {
		t.Errorf("got %q", got)
	}
}

func TestManualRegistrationsAreReportedAsSuch(t *testing.T) {
	s := apitest.CrowdedStatus()
	s.Attachments = s.Attachments[:2]
	for i := range s.Attachments {
		s.Attachments[i].Network, s.Attachments[i].IfName = state.ManualNetwork, state.ManualIfName
	}
	got := shown(t, func(p *Printer) error { return p.PrintStatus(new(s), StatusParts{}, Findings{}) })
	if !strings.Contains(got, "\nAll of these were registered by hand.\n") || strings.Contains(got, "manual in network") {
		t.Errorf("got\n%s", got)
	}
}

func TestTheWorstLeakComesFirst(t *testing.T) {
	got := shown(t, func(p *Printer) error { return p.PrintStatus(new(apitest.CrowdedStatus()), StatusParts{}, Findings{}) })
	worst, old, held := strings.Index(got, "shop/web-17"), strings.Index(got, "shop/web-3 "), strings.Index(got, "shop/web-20")
	if worst < 0 || old < worst || held < old || strings.Contains(got, "shop/web-4 ") || !strings.Contains(got, "27 quiet attachments") {
		t.Errorf("got\n%s", got)
	}
	all := shown(t, func(p *Printer) error {
		return p.PrintStatus(new(apitest.CrowdedStatus()), StatusParts{All: true}, Findings{})
	})
	if !strings.Contains(all, "shop/web-4 ") || strings.Contains(all, "not listed") {
		t.Errorf("with --all it is\n%s", all)
	}
	var out bytes.Buffer
	few := apitest.CrowdedStatus()
	few.Attachments = few.Attachments[:quietRows]
	if err := showing(&out, nil).PrintStatus(&few, StatusParts{}, Findings{}); err != nil || !strings.Contains(out.String(), "shop/web-4 ") {
		t.Errorf("a short list leaves some out: %v\n%s", err, out.String())
	}
}

func TestAFollowedTableHasOneHeader(t *testing.T) {
	got := shown(t, func(p *Printer) error {
		rows := p.EntryRows()
		for _, en := range apitest.Entries() {
			rows.Add("", en, en)
			if err := rows.Flush(); err != nil {
				return fmt.Errorf("show: %w", err)
			}
		}
		return nil
	})
	if n := strings.Count(got, "TIME"); n > 2 { // a second one only where the wider second pod changes the columns
		t.Errorf("%d headers:\n%s", n, got)
	}
}
