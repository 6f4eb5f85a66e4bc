// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// crowded is the status of a node with many attachments, in two of which there is something to see.
func crowded() api.Status {
	s := apitest.QuietStatus()
	for i := range 30 {
		a := api.AttachmentView{
			Attachment: state.Attachment{ContainerID: "c" + strconv.Itoa(i), IfName: "eth0"}, Network: "pods", Mode: policy.Observe,
			Pod: state.Pod{Namespace: "shop", Name: "web-" + strconv.Itoa(i)}, Policy: api.PolicyView(policy.Default()),
			Candidates: map[string]int{"CLOSE_WAIT": 0, "FIN_WAIT2": 0}, CappedBy: []string{"the switch, set to observe by alice"},
		}
		switch i {
		case 3:
			a.Candidates["FIN_WAIT2"], a.Oldest = 5, api.Seconds(7e9)
		case 17:
			a.Candidates["CLOSE_WAIT"], a.Oldest = 26123, api.Seconds(3e9)
		case 20:
			a.WouldDestroy = 1
		}
		s.Attachments = append(s.Attachments, a)
	}
	return s
}

// ofOnePod is the status of one pod's attachment, with a policy of many sources, a file that holds it and a wrong
// annotation.
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

// shows are all that is shown in a table or as JSON.
func shows() map[string]func(*env) error {
	return map[string]func(*env) error{
		"status": func(e *env) error { return e.printStatus(apitest.Status(), statusView{}) },
		"status-pod": func(e *env) error {
			return e.printStatus(ofOnePod(), statusView{all: true, policies: true})
		},
		"status-empty":   func(e *env) error { return e.printStatus(apitest.QuietStatus(), statusView{}) },
		"status-crowded": func(e *env) error { return e.printStatus(crowded(), statusView{}) },
		"sockets":        func(e *env) error { return e.printSockets(apitest.Sockets(), false) },
		"sockets-owners": func(e *env) error { return e.printSockets(apitest.Sockets(), true) },
		"sockets-empty":  func(e *env) error { return e.printSockets(nil, false) },
		"history":        func(e *env) error { return e.entryTable()(apitest.Entries()) },
		"history-empty":  func(e *env) error { return e.entryTable()(nil) },
		"mode": func(e *env) error {
			return e.printMode(withReaper(apitest.Status().Mode, apitest.Status().Attachments))
		},
		"mode-destroy":      func(e *env) error { return e.printMode(withReaper(apitest.QuietStatus().Mode, crowded().Attachments)) },
		"mode-conservative": func(e *env) error { return e.printMode(withReaper(apitest.QuietStatus().Mode, manyConservative())) },
		"mode-problems": func(e *env) error {
			return e.printMode(withReaper(api.ModeView{
				Effective: policy.Observe, Reaper: policy.Destroy, SwitchFile: "/s/mode", SwitchProblem: "read switch /s/mode: it has no mode",
				KernelProblem: "probe SOCK_DESTROY: not supported by this kernel",
			}, nil))
		},
		"mode-no-reaper": func(e *env) error {
			return e.printMode(modeReport{SwitchFile: "/s/mode", Switch: &state.Switch{Mode: policy.Observe, Who: "alice (sudo)", When: apitest.Then()}})
		},
	}
}

func manyConservative() []api.AttachmentView {
	list := crowded().Attachments[:8]
	for i := range list {
		list[i].Policy.Mode = policy.Observe
	}
	list[1].Policy.Mode, list[2].Inert, list[3].Policy.Mode = policy.Off, "gone", policy.Destroy
	return list
}

func TestWhatIsShownOnAScreenOf80Columns(t *testing.T) {
	for name, show := range shows() {
		t.Run(name, func(t *testing.T) {
			got := shown(t, show)
			termtest.CheckWidth(t, 80, got)
			golden.Text(t, name, got)
		})
	}
}

func TestWhatIsShownOnScreensOfOtherWidths(t *testing.T) {
	for name, show := range shows() {
		for _, width := range []int{20, 40, 60, 100, 132, 200, 400} {
			t.Run(name+" "+strconv.Itoa(width), func(t *testing.T) {
				got := shownAt(t, strconv.Itoa(width), show)
				termtest.CheckWidth(t, width, got)
				if strings.HasPrefix(name, "sockets-owners") && (width == 40 || width == 200) {
					golden.Text(t, name+"-"+strconv.Itoa(width), got)
				}
			})
		}
	}
}

func TestWideTablesHaveOneLinePerRow(t *testing.T) {
	for name, lines := range map[string]int{"sockets-owners": 1 + len(apitest.Sockets()), "history": 1 + len(apitest.Entries())} {
		got := shown(t, func(e *env) error {
			e.output = outputWide
			return shows()[name](e)
		})
		if strings.Count(got, "\n") != lines {
			t.Errorf("%s has not %d lines:\n%s", name, lines, got)
		}
		golden.Text(t, name+"-wide", got)
	}
}

func TestWhatIsShownAsJSON(t *testing.T) {
	for name, v := range map[string]any{
		"status-json":  apitest.Status(),
		"sockets-json": api.SocketList{Sockets: apitest.Sockets(), Problems: []string{apitest.Hostile}},
		"history-json": apitest.Page(),
		"mode-json":    withReaper(apitest.Status().Mode, apitest.Status().Attachments),
		"mode-json-no-reaper": modeReport{
			SwitchFile: "/s/mode", Switch: &state.Switch{Mode: policy.Observe, Who: apitest.Hostile, When: apitest.Then()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			golden.Text(t, name, shown(t, func(e *env) error { return printJSON(e.out, v) }))
		})
	}
	t.Run("history-follow-json", func(t *testing.T) {
		golden.Text(t, "history-follow-json", shown(t, func(e *env) error { return e.entryLines(apitest.Entries()) }))
	})
}

func TestNothingThatIsShownActsOnTheTerminal(t *testing.T) {
	for name, show := range shows() {
		got := shown(t, show)
		if strings.ContainsAny(got, "\x1b\t\a\u202e") {
			t.Errorf("%s shows it as it is:\n%q", name, got)
		}
	}
}

func TestWhatToDoAboutSeveralMistakesIsSaidOnce(t *testing.T) {
	list := findings(api.Status{ReaperStatus: api.ReaperStatus{Attachments: []api.AttachmentView{
		{Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Attachment: state.Attachment{IfName: "eth0"}, Warnings: []string{"one", "two"}},
		{Pod: state.Pod{Namespace: "shop", Name: "web-2"}, Attachment: state.Attachment{IfName: "eth0"}, Warnings: []string{"three"}, Problem: "broken"},
	}}})
	got := shown(t, func(e *env) error { return e.printFindings(term.Screen{}, list) })
	want := `
! shop/web-1 eth0: one
! shop/web-1 eth0: two
  > correct the annotation or the network configuration, and recreate the pod: attachments keep their policy

! shop/web-2 eth0: broken
  > it is tried again; if it stays, see the reaper's log

! shop/web-2 eth0: three
  > correct the annotation or the network configuration, and recreate the pod: attachments keep their policy
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestStatusReportsThatThePluginOrTheCommandIsOfAnotherBuildThanTheReaper(t *testing.T) {
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
		{"none", nil, reaperBuild, ""},
		{"of the same build", []api.AttachmentView{record(0, reaperBuild)}, reaperBuild, ""},
		{"the plugin was upgraded", []api.AttachmentView{record(2, newer), record(1, reaperBuild)}, reaperBuild, "the plugin is v1.2.4 (commit def), and the reaper is v1.2.3 (commit abc)"},
		{"both were upgraded", []api.AttachmentView{record(1, newer), record(2, reaperBuild)}, reaperBuild, ""},
		{"the newest does not say", []api.AttachmentView{record(1, newer), record(2, buildinfo.Build{})}, reaperBuild, "the plugin is v1.2.4"},
		{"none says", []api.AttachmentView{record(1, buildinfo.Build{})}, reaperBuild, ""},
		{"the reaper is older than the field", []api.AttachmentView{record(1, buildinfo.Build{})}, newer, "this command is v1.2.4 (commit def), and the reaper is v1.2.3 (commit abc)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := otherBuilds(api.Status{
				Version:      buildinfo.Info{Version: reaperBuild.Version, Commit: reaperBuild.Commit},
				ReaperStatus: api.ReaperStatus{Attachments: tt.records},
			}, tt.command)
			got := shown(t, func(e *env) error { return e.printFindings(term.Screen{}, list) })
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
			if tt.want != "" && !strings.Contains(got, `"halfclose install" for the plugin`) {
				t.Errorf("got %q, which does not say what to do", got)
			}
		})
	}
}

func TestAWarningThatNoReaperRanIsOfThePast(t *testing.T) {
	list := findings(api.Status{ReaperStatus: api.ReaperStatus{Attachments: []api.AttachmentView{
		{Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Attachment: state.Attachment{IfName: "eth0"}, Warnings: []string{"no reaper runs, and ADD did not start one: x"}},
	}}})
	got := shown(t, func(e *env) error { return e.printFindings(term.Screen{}, list) })
	if !strings.Contains(got, "when it was registered: no reaper runs") || !strings.Contains(got, "a reaper runs now") {
		t.Errorf("got %q", got)
	}
}

func TestNamespacesRegisteredByHandAreSaidToBe(t *testing.T) {
	s := crowded()
	s.Attachments = s.Attachments[:2]
	for i := range s.Attachments {
		s.Attachments[i].Network, s.Attachments[i].IfName = state.ManualNetwork, state.ManualIfName
	}
	got := shown(t, func(e *env) error { return e.printStatus(s, statusView{}) })
	if !strings.Contains(got, "\nAll of these were registered by hand.\n") || strings.Contains(got, "manual in network") {
		t.Errorf("got\n%s", got)
	}
}

func TestTheWorstLeakComesFirst(t *testing.T) {
	got := shown(t, func(e *env) error { return e.printStatus(crowded(), statusView{}) })
	worst, old, held := strings.Index(got, "shop/web-17"), strings.Index(got, "shop/web-3 "), strings.Index(got, "shop/web-20")
	if worst < 0 || old < worst || held < old || strings.Contains(got, "shop/web-4 ") || !strings.Contains(got, "27 attachments") {
		t.Errorf("got\n%s", got)
	}
	all := shown(t, func(e *env) error { return e.printStatus(crowded(), statusView{all: true}) })
	if !strings.Contains(all, "shop/web-4 ") || strings.Contains(all, "not listed") {
		t.Errorf("with --all it is\n%s", all)
	}
	var out bytes.Buffer
	few := crowded()
	few.Attachments = few.Attachments[:quietRows]
	if err := showing(&out, nil).printStatus(few, statusView{}); err != nil || !strings.Contains(out.String(), "shop/web-4 ") {
		t.Errorf("of a few not all are listed: %v\n%s", err, out.String())
	}
}
