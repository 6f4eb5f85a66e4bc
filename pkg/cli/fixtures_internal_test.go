// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func seconds(d time.Duration) *api.Seconds {
	s := api.Seconds(d)
	return &s
}

// hostile is a name that somebody chose to move the cursor, break the line, hide itself and ring the bell.
const hostile = "a\x1b[2J\tb\nc\u202ed\a\"\\"

// harmless is how it is shown.
const harmless = `a\x1b[2J\tb\nc\u202ed\a\"\\`

// then is when everything in the fixtures happened.
func then() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// aStatus has something of everything.
func aStatus() api.Status {
	at := then()
	long := api.PolicyView(policy.Default())
	long.FinWait2Grace = policy.Never
	var ages api.Ages
	ages.CloseWait.Sockets[0], ages.CloseWait.Sockets[4], ages.CloseWait.Overdue[4], ages.FinWait2.Sockets[1] = 5, 2, 1, 1
	counts := func(closeWait, finWait2 int) map[string]int {
		return map[string]int{"CLOSE_WAIT": closeWait, "FIN_WAIT2": finWait2}
	}
	return api.Status{
		Version: buildinfo.Info{Version: "v1.2.3"},
		Holder:  api.Holder{PID: 42, StartedBy: api.BySystemd, Since: at},
		ReaperStatus: api.ReaperStatus{
			Finder: api.FinderView{Name: "bpf", Known: 1321, Room: 65536, Missed: 3, Sweeps: 1234, CPU: api.Seconds(5 * time.Second), Late: api.Seconds(90 * time.Second)},
			Mode: api.ModeView{
				Effective: policy.Observe, Reaper: policy.Observe, SwitchFile: "/var/lib/halfclose/mode",
				Switch: &state.Switch{Mode: policy.Observe, Who: hostile, When: at},
			},
			Budget:     api.BudgetView{PerSecond: 1000, Waiting: 3},
			Namespaces: 2,
			Candidates: counts(7, 1),
			AgeBounds:  []api.Seconds{api.Seconds(time.Minute), api.Seconds(time.Hour)},
			Ages:       ages,
			Counts: api.Counts{
				Destroyed:    map[inetdiag.State]uint64{inetdiag.CloseWait: 10, inetdiag.FinWait2: 1},
				WouldDestroy: map[inetdiag.State]uint64{inetdiag.CloseWait: 2},
				Errors:       map[string]uint64{"EPERM": 4, "EIO": 1, "EOPNOTSUPP": 2},
			},
			Attachments: []api.AttachmentView{
				{
					Attachment: state.Attachment{ContainerID: "gone", IfName: "eth0"}, Network: "pods", Policy: api.PolicyView(long), Mode: policy.Off,
					Inert: "recorded before the last boot",
				},
				{
					Attachment: state.Attachment{ContainerID: "0123456789abcdef0123", IfName: "eth1"}, Network: "pods",
					Policy: api.PolicyView(long), Mode: policy.Off, Candidates: counts(0, 0), Warnings: []string{"annotation " + hostile + " is ignored"},
					Problem: "open the namespace: permission denied",
				},
				{
					Attachment: state.Attachment{ContainerID: "0123456789abcdef0123", IfName: "eth0"}, Network: "pods",
					Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Policy: api.PolicyView(policy.Default()), Mode: policy.Observe,
					CappedBy: []string{"the reaper's --mode observe"}, Candidates: counts(7, 1), Ages: ages, Recorded: at,
					Oldest: api.Seconds(3 * time.Hour), Destroyed: 11,
				},
			},
			Problems: []api.ProblemView{{File: hostile, Problem: "not a valid record"}},
		},
	}
}

// quietStatus is what a reaper says that has just started.
func quietStatus() api.Status {
	return api.Status{
		Version: buildinfo.Info{Version: "v1.2.3"}, Holder: api.Holder{PID: 42, StartedBy: api.ByPlugin, Since: then()},
		ReaperStatus: api.ReaperStatus{
			Finder: api.FinderView{Name: "sockdiag", Why: "bpf cannot be used: the kernel does not describe its types"},
			Mode:   api.ModeView{Effective: policy.Destroy, Reaper: policy.Destroy, SwitchFile: "/var/lib/halfclose/mode"},
		},
	}
}

// someSockets are sockets with names, addresses and queues of all lengths.
func someSockets() []api.SocketView {
	return []api.SocketView{
		{
			Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Netns: "/run/netns/a", Local: "10.0.0.2:443", Peer: "10.0.0.3:50000", State: inetdiag.CloseWait,
			Age: seconds(10 * time.Minute), Idle: seconds(90 * time.Second), RQueue: 1, WQueue: 0, Verdict: policy.Young, Mode: policy.Destroy,
			Why: "half-closed for 10m0s of its 1h grace", Deadline: seconds(50 * time.Minute),
			Owners: []owners.Process{{PID: 7, Command: "nginx", ContainerID: "fedcba9876543210"}, {PID: 8, Command: hostile}},
		},
		{
			Pod: state.Pod{Namespace: "shop", Name: "checkout-7d9f8b6c5-x2x7k"}, Local: "10.244.11.17:8443", Peer: "10.244.3.104:51234", State: inetdiag.FinWait2,
			Age: seconds(26 * time.Hour), Idle: seconds(26 * time.Hour), WQueue: 0, Verdict: policy.Destroyable, Mode: policy.Observe,
			Why: "its 10m grace ended 25h50m0s ago, but the mode is observe", Deadline: seconds(-26 * time.Hour),
			Owners: []owners.Process{{PID: 12345, Command: "envoy"}},
		},
		{
			ContainerID: "0123456789abcdef0123", Local: "[fd00::2]:443", Peer: "[fd00::3]:50000", State: inetdiag.Established,
			RQueue: 4294967295, Verdict: policy.NotHalfClosed, Mode: policy.Destroy, Why: "ESTABLISHED is not half-closed",
		},
		{Local: "127.0.0.1:1", Peer: "127.0.0.1:2", State: inetdiag.FinWait2, Verdict: policy.Orphan, Mode: policy.Off, Why: hostile},
	}
}

// someEntries are entries of a journal.
func someEntries() []api.Entry {
	return []api.Entry{
		{
			Seq: 11, Time: then().Add(-26 * time.Hour), Outcome: api.WouldDestroy, Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Network: "pods",
			ContainerID: "0123456789abcdef0123", Local: netip.MustParseAddrPort("10.0.0.2:443"), Peer: netip.MustParseAddrPort("10.0.0.3:50000"),
			State: inetdiag.CloseWait, Age: api.Seconds(10 * time.Minute), Idle: api.Seconds(10 * time.Minute), Grace: policy.Grace(10 * time.Minute),
			RQueue: 1,
		},
		{
			Seq: 12, Time: then().Add(-time.Minute), Outcome: api.Destroyed, Pod: state.Pod{Namespace: "shop", Name: "checkout-7d9f8b6c5-x2x7k"},
			ContainerID: "fedcba9876543210", Local: netip.MustParseAddrPort("[fd00::2]:8443"), Peer: netip.MustParseAddrPort("[fd00::3]:51234"),
			State: inetdiag.FinWait2, Age: api.Seconds(26 * time.Hour), Idle: api.Seconds(61 * time.Second), Grace: policy.Grace(time.Minute),
			Late: api.Seconds(1500 * time.Millisecond), WQueue: 4096, UID: 1000, Cookie: 77,
			Owners: []owners.Process{{PID: 7, Command: hostile, ContainerID: "fedcba9876543210"}},
		},
		{
			Seq: 13, Time: then(), Outcome: api.Destroyed, ContainerID: "fedcba9876543210", Local: netip.MustParseAddrPort("127.0.0.1:1"),
			Peer: netip.MustParseAddrPort("127.0.0.1:2"), State: inetdiag.CloseWait, Grace: policy.Grace(time.Second),
		},
	}
}

// somePage is a page with these entries, of a journal that has had more.
func somePage() api.JournalPage {
	return api.JournalPage{
		Journal: "j", Since: then().Add(-48 * time.Hour), Entries: someEntries(), Last: 13, Missed: 10,
	}
}

// showing is an environment with nothing set in it but what is in set, which prints to out.
func showing(out *bytes.Buffer, set map[string]string) *env {
	return &env{
		out: out, err: &bytes.Buffer{}, getenv: func(name string) string { return set[name] },
		now: func() time.Time { return then().Add(time.Minute) },
	}
}

// shown is what is shown on a screen of 80 columns.
func shown(t *testing.T, show func(*env) error) string { return shownAt(t, "", show) }

// shownAt is what is shown on a screen of so many columns.
func shownAt(t *testing.T, width string, show func(*env) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := show(showing(&out, map[string]string{"COLUMNS": width})); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
