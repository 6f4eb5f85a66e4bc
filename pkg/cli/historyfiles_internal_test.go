// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/state"
)

// stored returns a state directory whose reaper has stopped after it wrote entries.
func stored(t *testing.T, entries ...api.Entry) (dir string) {
	t.Helper()
	dir = nstest.ShortDir(t)
	w := history.NewWriter(history.WriterConfig{Dir: history.Dir(dir), Run: history.RunAt(apitest.Then()), Clock: monotime.Fake{}})
	for _, e := range entries {
		w.Append(history.KindEntry, e.Time, e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.Run(ctx)
	return dir
}

// runHistory runs halfclose history a minute after apitest.Then, in a time zone of its own.
func runHistory(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs outputtest.Buffer
	zone := time.FixedZone("CET", 3600)
	e := &env{Printer: printer.Printer{Out: &out, Getenv: func(string) string { return "" }, Now: func() time.Time { return apitest.Then().Add(time.Minute).In(zone) }}, err: &errs}
	code = run(t.Context(), append([]string{"history", "--state-dir", dir}, args...), e)
	return code, out.String(), errs.String()
}

// leak returns entries of one pod and peer, a second apart.
func leak(n int, outcome string) (list []api.Entry) {
	for i := range n {
		list = append(list, api.Entry{
			Seq: uint64(i + 1), Time: apitest.Then().Add(time.Duration(i-n) * time.Second), Outcome: outcome,
			Pod: state.Pod{Namespace: "shop", Name: "web-1"}, State: inetdiag.CloseWait,
			Local: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), uint16(40000+i)), Peer: netip.MustParseAddrPort("10.0.0.7:443"),
			Owners: []owners.Process{{PID: 7, Command: "java"}},
		})
	}
	return list
}

func TestTheHistoryIsReadFromDiskWithoutAReaper(t *testing.T) {
	dir := stored(t, leak(15, api.Destroyed)...)
	code, stdout, stderr := runHistory(t, dir, "--since", "1h", "-o", "wide")
	if code != cmdline.Success || strings.Count(stdout, "java[7]") != 15 || strings.Count(stdout, "\n") != 16 {
		t.Errorf("exit code %d, %s:\n%s", code, stderr, stdout)
	}
	for _, want := range []string{"no reaper is running: read the history in " + history.Dir(dir), "the history begins at 2026-01-02T04:03:50+01:00\n"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is missing:\n%s", want, stderr)
		}
	}
	if _, stdout, _ := runHistory(t, dir, "--tail", "3", "-o", "wide", "--no-headers"); strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, "10.0.0.2:40014") {
		t.Errorf("the last 3 are\n%s", stdout)
	}
	if code, stdout, stderr := runHistory(t, dir, "-o", "json"); code != cmdline.Success || !json.Valid([]byte(stdout)) || strings.Count(stdout, "seq") != 15 {
		t.Errorf("as JSON: exit code %d, %s, %s", code, stderr, stdout)
	}
	if code, _, stderr := runHistory(t, dir, "--follow"); code != cmdline.Failure || !strings.Contains(stderr, "no reaper is running") {
		t.Errorf("followed: exit code %d, %s", code, stderr)
	}
}

func TestTheSummaryCountsSocketsByPodOutcomeStateOwnerAndPeer(t *testing.T) {
	entries := append(leak(5, api.Destroyed), leak(2, api.WouldDestroy)...)
	sum := leak(1, api.Destroyed)[0]
	sum.Count, sum.First = 30, sum.Time.Add(-time.Hour)
	sum.Local = netip.AddrPortFrom(sum.Local.Addr(), 0)
	dir := stored(t, append(entries, sum)...)
	code, stdout, _ := runHistory(t, dir, "--summary", "-o", "wide", "--no-headers")
	var rows [][]string
	for line := range strings.Lines(stdout) {
		rows = append(rows, strings.Fields(line))
	}
	if code != cmdline.Success || len(rows) != 2 || strings.Join(rows[0][:6], " ") != "35 destroyed shop/web-1 CLOSE_WAIT java 10.0.0.7:443" ||
		rows[0][6] != "2026-01-02T03:04:04+01:00" || strings.Join(rows[1][:2], " ") != "2 would-destroy" {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	_, stdout, _ = runHistory(t, dir, "--summary", "-o", "json")
	var object struct {
		Summary []struct {
			Count int    `json:"count"`
			Owner string `json:"owner"`
			Peer  string `json:"peer"`
		} `json:"summary"`
	}
	if err := json.Unmarshal([]byte(stdout), &object); err != nil || len(object.Summary) != 2 || object.Summary[0].Count != 35 || object.Summary[0].Peer != "10.0.0.7:443" {
		t.Errorf("%v: %s", err, stdout)
	}
}

func TestAnAddressIsAnsweredWithYesOrNo(t *testing.T) {
	sum := leak(1, api.Destroyed)[0]
	sum.Count, sum.Local, sum.Peer = 30, netip.AddrPort{}, netip.MustParseAddrPort("10.9.9.9:0")
	would := leak(1, api.WouldDestroy)[0]
	would.Peer = netip.MustParseAddrPort("[fd00::7]:443")
	gone := leak(1, api.PeerGone)[0]
	gone.How, gone.Peer = "reset", netip.MustParseAddrPort("10.0.0.8:443")
	closed := leak(1, api.Closed)[0]
	closed.Peer = netip.MustParseAddrPort("10.0.0.9:443")
	dir := stored(t, append(leak(3, api.Destroyed), sum, would, gone, closed)...)
	for _, tt := range []struct {
		args []string
		code int
		rows int
		want string
	}{
		{[]string{"10.0.0.7"}, cmdline.Success, 3, "yes: of the connections of 10.0.0.7, halfclose destroyed 3 in CLOSE_WAIT (the peer's next recv returns ECONNRESET"},
		{[]string{"10.0.0.7:443", "10.0.0.2:40001"}, cmdline.Success, 1, "yes: of the connections of 10.0.0.7:443 and 10.0.0.2:40001, halfclose destroyed one in"},
		{[]string{"10.0.0.2:40001"}, cmdline.Success, 1, "yes: "}, // from either end
		{[]string{"::ffff:10.0.0.8"}, cmdline.Success, 1, "yes: of the connections of 10.0.0.8, the kernel closed one when halfclose asked its peer"},
		{[]string{"[fd00::7]:443"}, cmdline.Success, 1, "no: of the connections of [fd00::7]:443, halfclose would have destroyed one, but the mode kept it"},
		{[]string{"10.0.0.9"}, cmdline.Success, 1, "perhaps: of the connections of 10.0.0.9, one was closed by its owner while halfclose asked its peer"},
		{[]string{"10.9.9.9:80"}, cmdline.Success, 1, "perhaps: of the connections of 10.9.9.9:80, 30 more may be among them"},
		{[]string{"10.0.0.7:444"}, cmdline.Failure, 0, "no: the history since 2026-01-02T04:04:02+01:00 has no connection of 10.0.0.7:444"},
		{[]string{"10.0.0.7", "10.0.0.3"}, cmdline.Failure, 0, "no: the history"},
	} {
		code, stdout, stderr := runHistory(t, dir, append(tt.args, "-o", "wide", "--no-headers")...)
		if code != tt.code || strings.Count(stdout, "\n") != tt.rows || !strings.Contains(stderr, "halfclose: "+tt.want) {
			t.Errorf("%v: exit code %d, want %d and %d rows\n%s%s", tt.args, code, tt.code, tt.rows, stdout, stderr)
		}
	}
}

func TestGapsOfTheHistoryAreReported(t *testing.T) {
	dir := nstest.ShortDir(t)
	page := apitest.Page()
	page.Missed, page.Problems = 0, []string{"230 entries from a to b are lost: no space left on device"}
	serveReaper(t, dir, func(w http.ResponseWriter, _ *http.Request) { writeJSON(t, w, page) })
	if code, _, stderr := runHistory(t, dir); code != cmdline.Success || !strings.Contains(stderr, "230 entries from a to b are lost") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
