// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// exempting exempts the listener's port.
func exempting(tb testing.TB, l net.Listener) func(*policy.Policy) {
	tb.Helper()
	var list []policy.Match
	text := fmt.Sprintf(`[{"localPorts": "%d"}]`, l.Addr().(*net.TCPAddr).Port)
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		tb.Fatal(err)
	}
	return func(p *policy.Policy) { p.Exempt = list }
}

// TestEveryMetricIsCorrect has a real reaper destroy, spare and ignore sockets of each kind, and compares a whole scrape
// with what happened.
func TestEveryMetricIsCorrect(t *testing.T) {
	t.Parallel()
	const short = 3 * time.Second
	began := time.Now()
	n := newNode(t)
	shop, bill, bare, other := nstest.New(t), nstest.New(t), nstest.New(t), nstest.New(t)

	// In the shop two leaks are destroyed; a socket with unread data and one of an exempt port are spared.
	port := shop.Listen(t, nstest.IPv4)
	n.register(shop, state.Pod{Namespace: "shop", Name: "web"}, grace(short, time.Hour, exempting(t, port)))
	shut(t, shop)
	shut(t, shop)
	slow := shop.Connect(t, nstest.IPv4)
	if _, err := slow.Client.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := slow.Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	exempt := shop.ConnectFrom(t, "", port)
	if err := exempt.Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// The leak of billing would be destroyed, but its policy says observe. Its record has a warning.
	n.register(bill, state.Pod{Namespace: "billing", Name: "db"}, grace(short, time.Hour, func(p *policy.Policy) { p.Mode = policy.Observe }),
		func(r *state.Record) { r.Warnings = []string{"halfclose.cni/grace: what is that"} })
	shut(t, bill)
	// Outside of Kubernetes one is destroyed in FIN_WAIT2.
	n.register(bare, state.Pod{}, grace(time.Hour, short))
	shut(t, bare)
	// One record seems to be of an earlier boot although its network namespace exists, one is left over from a deleted one,
	// and one file is no record.
	n.register(other, state.Pod{}, grace(short, short), func(r *state.Record) { r.Boot, r.ContainerID = "another", "other" })
	n.register(bare, state.Pod{}, grace(short, short), func(r *state.Record) {
		r.Boot, r.ContainerID, r.Netns.Identity = "another", "deleted", netns.Identity{Cookie: 1, Dev: r.Netns.Dev, Inode: 1}
	})
	if err := os.WriteFile(filepath.Join(n.store.AttachmentsDir(), "x@eth0.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}

	n.await(`destroyed_total{namespace="shop",state="CLOSE_WAIT"}`, 2)
	n.await(`destroyed_total{namespace="",state="FIN_WAIT2"}`, 1)
	n.await(`would_destroy_total{namespace="billing",state="CLOSE_WAIT"}`, 1)
	n.await(`spared_total{reason="unread-data"}`, 1)
	n.awaitSockets("CLOSE_WAIT", 3) // slow, exempt, observed
	n.awaitSockets("FIN_WAIT2", 3)  // and their peers
	n.await(`warnings_total{kind="records"}`, 2)

	got := n.metrics()
	for _, name := range []string{"destroy_lateness_seconds_sum", `sweep_duration_seconds_sum{finder="sockdiag"}`, "sweep_cpu_seconds_total"} {
		got.take(t, name, 1e-6, patience.Seconds())
	}
	got.take(t, `sweep_duration_seconds_count{finder="sockdiag"}`, 3, 10000)
	for _, st := range []string{"CLOSE_WAIT", "FIN_WAIT2"} {
		got.take(t, `oldest_socket_age_seconds{state="`+st+`"}`, short.Seconds(), time.Since(began).Seconds())
	}
	// On a busy machine a socket may be found after its grace, and is looked up twice.
	young := got[`spared_total{reason="within-grace"}`]
	if young < 9 || young > 20 {
		t.Errorf("%v were spared within their grace, of 11", young)
	}
	delete(got, `spared_total{reason="within-grace"}`)
	// On a busy machine a sweep may be late by a whole interval.
	got.take(t, "sweep_lag_seconds", 0, patience.Seconds())
	got.take(t, `warnings_total{kind="`+reaper.WarnSweeping+`"}`, 0, 2)
	got.take(t, `warnings_total{kind="`+reaper.WarnStaleLooks+`"}`, 0, 2)
	// A look-up is repeated if its thread was off the CPU for 1 ms before the destroy.
	got.take(t, "stale_lookups_total", 0, 100)
	// The socket of billing counts again if a report from before its deadline arrives after its verdict.
	got.take(t, `spared_total{reason="would-destroy"}`, 1, 3)
	got.take(t, "destroys_queued", 0, 3)
	got.take(t, "process_cpu_seconds_total", 1e-3, 3600)
	got.take(t, "process_resident_memory_bytes", 1<<20, 4<<30)
	got.take(t, "process_open_fds", 10, 10000)
	now := float64(time.Now().Unix())
	got.take(t, "process_start_time_seconds", now-3600, now+2)
	for name := range got { // others of the library
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			delete(got, name)
		}
	}
	for _, st := range []string{"CLOSE_WAIT", "FIN_WAIT2"} {
		for _, end := range []string{"destroyed", "peer-gone", "closed"} {
			key := fmt.Sprintf("{end=%q,state=%q}", end, st)
			got.take(t, "half_closed_seconds_sum"+key, 0, 10*time.Since(began).Seconds())
		}
		// The peers of destroyed sockets close, which a sweep notices some time later.
		got.take(t, fmt.Sprintf(`half_closed_seconds_count{end="closed",state=%q}`, st), 0, 3)
	}

	info := buildinfo.Get()
	want := series{
		fmt.Sprintf(`build_info{commit=%q,goversion=%q,version=%q}`, info.Commit, info.Go, info.Version): 1,

		`finder_info{finder="sockdiag"}`: 1,
		`mode{mode="destroy"}`:           1,
		`mode{mode="observe"}`:           0,
		`mode{mode="off"}`:               0,
		`attachments`:                    3,
		`inert_attachments`:              1,
		`netns`:                          3,
		`record_problems`:                2, // the file, and the mistake

		`sockets{namespace="shop",state="CLOSE_WAIT"}`:    2, // with unread data, and exempt
		`sockets{namespace="shop",state="FIN_WAIT2"}`:     2, // their peers
		`sockets{namespace="billing",state="CLOSE_WAIT"}`: 1,
		`sockets{namespace="billing",state="FIN_WAIT2"}`:  1,
		`sockets{namespace="",state="CLOSE_WAIT"}`:        0,
		`sockets{namespace="",state="FIN_WAIT2"}`:         0,

		`half_closed_seconds_count{end="destroyed",state="CLOSE_WAIT"}`: 2,
		`half_closed_seconds_count{end="destroyed",state="FIN_WAIT2"}`:  1,
		`half_closed_seconds_count{end="peer-gone",state="CLOSE_WAIT"}`: 0,
		`half_closed_seconds_count{end="peer-gone",state="FIN_WAIT2"}`:  0,

		`destroyed_total{namespace="shop",state="CLOSE_WAIT"}`:        2,
		`destroyed_total{namespace="shop",state="FIN_WAIT2"}`:         0,
		`destroyed_total{namespace="billing",state="CLOSE_WAIT"}`:     0,
		`destroyed_total{namespace="billing",state="FIN_WAIT2"}`:      0,
		`destroyed_total{namespace="",state="CLOSE_WAIT"}`:            0,
		`destroyed_total{namespace="",state="FIN_WAIT2"}`:             1,
		`would_destroy_total{namespace="shop",state="CLOSE_WAIT"}`:    0,
		`would_destroy_total{namespace="shop",state="FIN_WAIT2"}`:     0,
		`would_destroy_total{namespace="billing",state="CLOSE_WAIT"}`: 1,
		`would_destroy_total{namespace="billing",state="FIN_WAIT2"}`:  0,
		`would_destroy_total{namespace="",state="CLOSE_WAIT"}`:        0,
		`would_destroy_total{namespace="",state="FIN_WAIT2"}`:         0,

		`spared_total{reason="unread-data"}`:       1,
		`spared_total{reason="exempt"}`:            1,
		`spared_total{reason="grace-never"}`:       0,
		`spared_total{reason="unacked-data"}`:      0,
		`spared_total{reason="progress"}`:          0,
		`spared_total{reason="orphan"}`:            0,
		`spared_total{reason="not-accepted"}`:      0,
		`spared_total{reason="not-half-closed"}`:   0,
		`spared_total{reason="mptcp"}`:             0,
		`spared_total{reason="unknown"}`:           0,
		`destroy_errors_total{errno="EPERM"}`:      0,
		`destroy_errors_total{errno="EOPNOTSUPP"}`: 0,
		`destroy_lateness_seconds_count`:           3,
		`events_missed_total`:                      0,
		`ages_lost_total`:                          0,
		`unreachable_netns`:                        0,
		`crowded_netns`:                            0,
		`would_ask_total`:                          0,
	}
	for _, reason := range []policy.Reason{
		policy.AskingPeer, policy.PeerAlive, policy.PeerSpared, policy.WouldAsk, policy.BelowThreshold, policy.OwnerFrozen,
		policy.OwnerUnknown, policy.ModeOff,
	} {
		want[`spared_total{reason="`+reason.String()+`"}`] = 0
	}
	for _, st := range []string{"CLOSE_WAIT", "FIN_WAIT2"} {
		for _, ns := range []string{"", "shop", "billing"} {
			for _, how := range []string{"reset", "timeout"} {
				want[fmt.Sprintf(`peer_gone_total{how=%q,namespace=%q,state=%q}`, how, ns, st)] = 0
			}
		}
	}
	for _, r := range policy.Reasons() {
		if r != policy.NotRegistered {
			want[fmt.Sprintf(`spared_sockets{reason=%q}`, r.String())] = 0
		}
	}
	// The open sockets and their peers.
	want[`spared_sockets{reason="unread-data"}`], want[`spared_sockets{reason="exempt"}`] = 1, 1
	want[`spared_sockets{reason="would-destroy"}`], want[`spared_sockets{reason="within-grace"}`] = 1, 3
	// The parts that this reaper runs without.
	for _, name := range []string{
		"adopted_attachments", "unregistered_netns", "descriptors_held", "descriptors_closed_total", "policy_file_errors", "history_lines_lost_total",
		"processes_near_file_limit",
	} {
		want[name] = 0
	}
	for _, reason := range api.AdoptionReasons() {
		want[fmt.Sprintf(`adoption_skipped{reason=%q}`, reason)] = 0
	}
	for _, scope := range []string{"node", "namespace", "pod", "container"} {
		want[fmt.Sprintf(`oldest_switch_age_seconds{scope=%q}`, scope)], want[fmt.Sprintf(`switches{scope=%q}`, scope)] = 0, 0
	}
	for _, file := range api.UnwritableNames() {
		want[fmt.Sprintf(`unwritable{file=%q}`, file)], want[fmt.Sprintf(`write_errors_total{file=%q}`, file)] = 0, 0
	}
	for _, kind := range reaper.WarningKinds() {
		want[`warnings_total{kind="`+kind+`"}`] = 0
	}
	delete(want, `warnings_total{kind="`+reaper.WarnSweeping+`"}`)
	delete(want, `warnings_total{kind="`+reaper.WarnStaleLooks+`"}`)
	want[`warnings_total{kind="records"}`] = 2
	got[`warnings_total{kind="host-netns"}`] = 0 // depends on the machine
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the scrape (-want +got)\n%s", diff)
	}

	// Over TCP the scrape is the same, and the linter accepts it.
	text := n.getTCP("/metrics")
	tcp := read(t, text)
	for name, v := range want {
		if got, ok := tcp[name]; (!ok || got != v) && !strings.Contains(name, "host-netns") {
			t.Errorf("over TCP %s is %v (%v), not %v", name, got, ok, v)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(n.metrics())), slices.Sorted(maps.Keys(tcp))); diff != "" {
		t.Errorf("over TCP the scrape has other metrics (-unix +tcp)\n%s", diff)
	}
	if problems, err := promlint.New(bytes.NewReader([]byte(text.body))).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("the linter says %v %v", problems, err)
	}
}
