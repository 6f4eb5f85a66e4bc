// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package apitest has answers of a reaper for tests of the output: every field is set somewhere, and names that a pod's
// owner chooses are hostile.
package apitest

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Seconds returns a pointer to d in seconds.
func Seconds(d time.Duration) *api.Seconds {
	s := api.Seconds(d)
	return &s
}

// Hostile is a name that moves the cursor, breaks the line, reverses the text and rings the bell.
const Hostile = "a\x1b[2J\tb\nc\u202ed\a\"\\"

// Harmless is Hostile as it must be shown.
const Harmless = `a\x1b[2J\tb\nc\u202ed\a\"\\`

// Then is the time of the events in the fixtures.
func Then() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// Status returns a status in which every field is set somewhere.
func Status() api.Status {
	at := Then()
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
				Switch: &state.Switch{Mode: policy.Observe, Who: Hostile, When: at},
			},
			Budget:     api.BudgetView{PerSecond: 1000, Waiting: 3},
			Namespaces: 2, Unreachable: 1,
			Adoption: api.AdoptionView{
				Enabled: true, Adopted: 2, Unregistered: 4, UnregisteredPaths: []string{"/run/netns/" + Hostile},
				Skipped: map[api.AdoptionReason]int{api.AdoptRegistered: 9, api.AdoptStale: 3, api.AdoptNotChained: 1}, NotChained: []string{Hostile},
			},
			Peers: api.PeersView{
				PerSecond: 1000, Answers: map[string]uint64{"alive": 31, "reset": 4, "timeout": 1, "closed": 0},
				NotAsked: map[string]uint64{"sigpipe": 2, "refused": 3, "other": 1, "linger": 0},
				Refused:  map[string]uint64{"EACCES": 3}, Queued: 5, Asking: 2, Missing: 1, Stuck: 4, Suspended: true, Restored: 37, Lost: 1, Unreadable: 1,
			},
			Refusals: []api.RefusalView{
				{Kind: api.RefusedNetns, Count: 1, Of: 2, Problem: "enter network namespace: operation not permitted", Do: "grant CAP_SYS_ADMIN"},
				{Kind: api.RefusedPeers, Count: 3, Of: 140, Problem: Hostile + "[77]: permission denied", Do: "grant CAP_SYS_PTRACE"},
			},
			Candidates: counts(7, 1),
			AgeBounds:  []api.Seconds{api.Seconds(time.Minute), api.Seconds(time.Hour)},
			Ages:       ages,
			Counts: api.Counts{
				Destroyed:    map[inetdiag.State]uint64{inetdiag.CloseWait: 10, inetdiag.FinWait2: 1},
				WouldDestroy: map[inetdiag.State]uint64{inetdiag.CloseWait: 2}, PeerGone: 5, WouldAsk: 6,
				Errors: map[string]uint64{"EPERM": 4, "EIO": 1, "EOPNOTSUPP": 2},
			},
			Attachments: []api.AttachmentView{
				{
					Attachment: state.Attachment{ContainerID: "gone", IfName: "eth0"}, Network: "pods", Policy: api.PolicyView(long), Mode: policy.Off,
					Inert: "recorded before the last boot",
				},
				{
					Attachment: state.Attachment{ContainerID: "0123456789abcdef0123", IfName: "eth1"}, Network: "pods",
					Policy: api.PolicyView(long), Mode: policy.Off, Candidates: counts(0, 0), Warnings: []string{"annotation " + Hostile + " is ignored"},
					Problem: "open the namespace: permission denied",
				},
				{
					Attachment: state.Attachment{ContainerID: "0123456789abcdef0123", IfName: "eth0"}, Network: "pods",
					Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Policy: api.PolicyView(policy.Default()), Mode: policy.Observe,
					CappedBy: []string{"the reaper's --mode observe"}, Candidates: counts(7, 1), Ages: ages, Recorded: at,
					Oldest: api.Seconds(3 * time.Hour), Destroyed: 11,
				},
			},
			Problems: []api.ProblemView{{File: Hostile, Problem: "not a valid record"}},
		},
	}
}

// QuietStatus returns the status of a reaper that has just started.
func QuietStatus() api.Status {
	return api.Status{
		Version: buildinfo.Info{Version: "v1.2.3"}, Holder: api.Holder{PID: 42, StartedBy: api.ByPlugin, Since: Then()},
		ReaperStatus: api.ReaperStatus{
			Peers:  api.PeersView{PerSecond: 1000},
			Finder: api.FinderView{Name: "sockdiag", Why: "bpf cannot be used: the kernel does not describe its types"},
			Mode:   api.ModeView{Effective: policy.Destroy, Reaper: policy.Destroy, SwitchFile: "/var/lib/halfclose/mode"},
		},
	}
}

// Sockets returns sockets with names, addresses and queues of different lengths.
func Sockets() []api.SocketView {
	return []api.SocketView{
		{
			Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Netns: "/run/netns/a", Local: "10.0.0.2:443", Peer: "10.0.0.3:50000", State: inetdiag.CloseWait,
			Age: Seconds(10 * time.Minute), Idle: Seconds(90 * time.Second), RQueue: 1, WQueue: 0, Verdict: policy.WithinGrace, Mode: policy.Destroy,
			Why: "half-closed for 10m0s of its 1h grace", Deadline: Seconds(50 * time.Minute), Questions: 2, PeerAlive: Seconds(70 * time.Second),
			Owners: []owners.Process{{PID: 7, Command: "nginx", ContainerID: "fedcba9876543210"}, {PID: 8, Command: Hostile}},
		},
		{
			Pod: state.Pod{Namespace: "shop", Name: "checkout-7d9f8b6c5-x2x7k"}, Local: "10.244.11.17:8443", Peer: "10.244.3.104:51234", State: inetdiag.FinWait2,
			Age: Seconds(26 * time.Hour), Idle: Seconds(26 * time.Hour), WQueue: 0, Verdict: policy.WouldDestroy, Mode: policy.Observe,
			Why: "its 10m grace ended 25h50m0s ago, but the mode is observe", Deadline: Seconds(-26 * time.Hour), NotAsked: "sigpipe",
			Owners: []owners.Process{{PID: 12345, Command: "envoy"}},
		},
		{
			ContainerID: "0123456789abcdef0123", Local: "[fd00::2]:443", Peer: "[fd00::3]:50000", State: inetdiag.Established,
			RQueue: 4294967295, Verdict: policy.NotHalfClosed, Mode: policy.Destroy, Why: "ESTABLISHED is not half-closed",
		},
		{Local: "127.0.0.1:1", Peer: "127.0.0.1:2", State: inetdiag.FinWait2, Verdict: policy.Orphan, Mode: policy.Off, Why: Hostile},
	}
}

// Entries returns entries of a history.
func Entries() []api.Entry {
	return []api.Entry{
		{
			Seq: 11, Time: Then().Add(-26 * time.Hour), Outcome: api.WouldDestroy, Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Network: "pods",
			ContainerID: "0123456789abcdef0123", Local: netip.MustParseAddrPort("10.0.0.2:443"), Peer: netip.MustParseAddrPort("10.0.0.3:50000"),
			State: inetdiag.CloseWait, Age: api.Seconds(10 * time.Minute), Idle: api.Seconds(10 * time.Minute), Grace: policy.Patience(10 * time.Minute),
			RQueue: 1,
		},
		{
			Seq: 12, Time: Then().Add(-time.Minute), Outcome: api.Destroyed, Pod: state.Pod{Namespace: "shop", Name: "checkout-7d9f8b6c5-x2x7k"},
			ContainerID: "fedcba9876543210", Local: netip.MustParseAddrPort("[fd00::2]:8443"), Peer: netip.MustParseAddrPort("[fd00::3]:51234"),
			State: inetdiag.FinWait2, Age: api.Seconds(26 * time.Hour), Idle: api.Seconds(61 * time.Second), Grace: policy.Patience(time.Minute),
			Late: api.Seconds(1500 * time.Millisecond), WQueue: 4096, UID: 1000, Cookie: 77,
			Owners: []owners.Process{{PID: 7, Command: Hostile, ContainerID: "fedcba9876543210"}},
		},
		{
			Seq: 13, Time: Then(), Outcome: api.Destroyed, ContainerID: "fedcba9876543210", Local: netip.MustParseAddrPort("127.0.0.1:1"),
			Peer: netip.MustParseAddrPort("127.0.0.1:2"), State: inetdiag.CloseWait, Grace: policy.Patience(time.Second),
		},
	}
}

// Page returns a page with Entries, from a history that no longer keeps all of its entries.
func Page() api.HistoryPage {
	return api.HistoryPage{
		History: "j", Since: Then().Add(-48 * time.Hour), Entries: Entries(), Last: 13, Missed: 10,
	}
}

// WriteAnswer writes a value as a reaper answers it: a list of sockets and a page of the history as lines, anything else
// as one object.
func WriteAnswer(w http.ResponseWriter, v any) error {
	var lines []any
	contentType := "application/x-ndjson"
	switch v := v.(type) {
	case api.SocketList:
		for i := range v.Sockets {
			lines = append(lines, &v.Sockets[i])
		}
		lines = append(lines, api.SocketsEnd{Complete: true, Problems: v.Problems})
	case api.HistoryPage:
		for i := range v.Entries {
			lines = append(lines, &v.Entries[i])
		}
		lines = append(lines, v.End())
	default:
		contentType = "application/json"
		lines = append(lines, v)
	}
	w.Header().Set("Content-Type", contentType)
	enc := json.NewEncoder(w)
	for _, line := range lines {
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}
