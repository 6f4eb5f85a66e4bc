// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/printer"
)

// historyOf runs halfclose history with a reaper that answers with page.
func historyOf(t *testing.T, page api.HistoryPage, args ...string) (stdout, stderr string) {
	t.Helper()
	dir := nstest.ShortDir(t)
	serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/status") {
			writeJSON(t, w, apitest.CrowdedStatus())
			return
		}
		writeJSON(t, w, page)
	})
	var out, errs outputtest.Buffer
	e := &env{Printer: printer.Printer{Out: &out, Getenv: func(string) string { return "" }, Now: func() time.Time { return apitest.Then().Add(time.Minute) }}, err: &errs}
	if code := run(t.Context(), append([]string{"history", "--state-dir", dir}, args...), e); code != cmdline.Success {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	return out.String(), errs.String()
}

func TestTheHistoryIsFiltered(t *testing.T) {
	none := apitest.Page()
	none.Entries, none.Last, none.Missed = nil, 0, 0
	all := apitest.Page()
	all.Missed = 0
	for _, tt := range []struct {
		name string
		page api.HistoryPage
		args []string
		want []string // the peers
		note string
	}{
		{
			"everything, after some entries were dropped", apitest.Page(), nil,
			[]string{"10.0.0.3:50000", "[fd00::3]:51234", "127.0.0.1:2"},
			"halfclose: 10 entries before 2026-01-01T01:04:05Z are no longer kept: see the reaper's log\n",
		},
		{
			"everything", all, nil,
			[]string{"10.0.0.3:50000", "[fd00::3]:51234", "127.0.0.1:2"},
			"halfclose: the history begins at 2025-12-31T03:04:05Z, when the reaper started\n",
		},
		{
			"since a duration", apitest.Page(),
			[]string{"--since", "5m"},
			[]string{"[fd00::3]:51234", "127.0.0.1:2"},
			"halfclose: the history is complete since 2026-01-02T03:00:05Z\n",
		},
		{"since a time of day", apitest.Page(), []string{"--since", "03:04"}, []string{"127.0.0.1:2"}, "halfclose: the history is complete since 2026-01-02T03:04:00Z\n"},
		{
			"since before it began", all,
			[]string{"--since", "2025-01-01T00:00:00Z"},
			[]string{"10.0.0.3:50000", "[fd00::3]:51234", "127.0.0.1:2"},
			"halfclose: the history begins at 2025-12-31T03:04:05Z, when the reaper started\n",
		},
		{"a pod", apitest.Page(), []string{"--pod", "shop/web-1"}, []string{"10.0.0.3:50000"}, "10 entries"},
		{"a container", all, []string{"--pod", "fedcba"}, []string{"[fd00::3]:51234", "127.0.0.1:2"}, "begins"},
		{"an outcome", all, []string{"--outcome", "would-destroy"}, []string{"10.0.0.3:50000"}, "begins"},
		{"no match", all, []string{"--outcome", "failed"}, nil, "halfclose: no entry matches; the history begins at 2025-12-31T03:04:05Z, when the reaper started\n"},
		{"empty history", none, nil, nil, "halfclose: no socket has been destroyed; the history begins at 2025-12-31T03:04:05Z, when the reaper started\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr := historyOf(t, tt.page, tt.args...)
			for _, en := range tt.page.Entries {
				listed := false
				for _, peer := range tt.want {
					listed = listed || peer == en.Peer.String()
				}
				if strings.Contains(stdout, en.Peer.String()) != listed {
					t.Errorf("%s is listed, or not, against the filter:\n%s", en.Peer, stdout)
				}
			}
			if !strings.HasPrefix(stdout, "TIME ") {
				t.Errorf("no header:\n%s", stdout)
			}
			if !strings.Contains(stderr, tt.note) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("the note is %q, want %q", stderr, tt.note)
			}
		})
	}
}

func TestAPeerGoneEntryHasItsCauseAndNoGrace(t *testing.T) {
	page := apitest.Page()
	e := &page.Entries[0]
	e.Outcome, e.How, e.Grace = api.PeerGone, "reset", 0
	stdout, _ := historyOf(t, page, "--outcome", api.PeerGone)
	if !strings.Contains(stdout, "peer-gone (reset)") || strings.Contains(stdout, "grace") || strings.Contains(stdout, page.Entries[1].Peer.String()) {
		t.Errorf("it is listed as\n%s", stdout)
	}
}

func TestTheHistoryAsJSONIsOneObject(t *testing.T) {
	stdout, stderr := historyOf(t, apitest.Page(), "-o", "json")
	apitest.CheckJSONOf(t, stdout, apitest.Page())
	if stderr != "" {
		t.Errorf("on stderr: %s", stderr)
	}
	if stdout, _ := historyOf(t, apitest.Page(), "-o", "json", "--outcome", "failed"); !strings.Contains(stdout, `"entries": []`) {
		t.Errorf("without entries it is\n%s", stdout)
	}
}

// startFollow runs halfclose history --follow on a state directory until stop is called, which expects exit code 0.
func startFollow(t *testing.T, dir string, args ...string) (out, errs *outputtest.Buffer, stop func()) {
	t.Helper()
	out, errs = new(outputtest.Buffer), new(outputtest.Buffer)
	ctx, cancel := context.WithCancel(t.Context())
	exited := make(chan int, 1)
	e := &env{Printer: printer.Printer{Out: out, Getenv: func(string) string { return "" }, Now: func() time.Time { return apitest.Then().Add(time.Minute) }}, err: errs}
	go func() { exited <- run(ctx, append([]string{"history", "--follow", "--state-dir", dir}, args...), e) }()
	return out, errs, func() {
		t.Helper()
		cancel()
		if code := <-exited; code != cmdline.Success {
			t.Errorf("exit code %d: %s", code, errs.String())
		}
	}
}

func TestFollowContinuesWithTheNextReaper(t *testing.T) {
	t.Parallel()
	dir := nstest.ShortDir(t)
	entries := apitest.Entries()
	requests := make(chan string, 100)
	serve := func(name string, first, later []api.Entry, missed uint64) func() {
		return serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
			requests <- name
			page := api.HistoryPage{History: name, Since: apitest.Then(), Last: 1, Entries: first, Missed: missed}
			switch {
			case r.URL.Query().Get("history") != name:
			case r.URL.Query().Get("after") == "1" && later != nil:
				page.Entries, page.Last = later, 2
			default:
				<-r.Context().Done() // no more entries
				return
			}
			writeJSON(t, w, page)
		})
	}
	stop := serve("first", entries[:1], entries[1:2], 0)
	out, errs, stopFollow := startFollow(t, dir)
	defer stopFollow()
	nstest.Eventually(t, patience, "both entries are shown", func() bool {
		return strings.Contains(out.String(), "10.0.0.3:50000") && strings.Contains(out.String(), "[fd00::3]:51234")
	})
	stop()
	nstest.Eventually(t, patience, "the loss is reported", func() bool { return strings.Contains(errs.String(), "lost the reaper; waiting") })
	for len(requests) > 0 {
		<-requests
	}
	serve("second", entries[2:], nil, 7)
	nstest.Eventually(t, patience, "the entry of the next reaper is shown", func() bool { return strings.Contains(out.String(), "127.0.0.1:2") })
	for _, want := range []string{
		"the reaper was restarted at 2026-01-02T03:04:05Z with a new history; the last entries of the previous one may be missing",
		"7 entries are missing: the reaper dropped them",
	} {
		if strings.Count(errs.String(), want) != 1 {
			t.Errorf("%q is not reported once:\n%s", want, errs.String())
		}
	}
	for _, en := range entries {
		if strings.Count(out.String(), "  "+en.Peer.String()+"  ") != 1 {
			t.Errorf("%s is not listed once:\n%s", en.Peer, out.String())
		}
	}
}

func TestFollowReportsTheNextReaperAtOnce(t *testing.T) {
	t.Parallel()
	dir := nstest.ShortDir(t)
	serve := func(name string) func() {
		return serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("wait") {
				<-r.Context().Done() // no new entries
				return
			}
			writeJSON(t, w, api.HistoryPage{History: name, Since: apitest.Then()})
		})
	}
	stop := serve("first")
	_, errs, stopFollow := startFollow(t, dir)
	defer stopFollow()
	nstest.Eventually(t, patience, "it has begun", func() bool { return errs.String() != "" })
	stop()
	nstest.Eventually(t, patience, "the loss is reported", func() bool { return strings.Contains(errs.String(), "waiting for it or its successor") })
	serve("second")
	nstest.Eventually(t, patience, "the new reaper is reported", func() bool { return strings.Contains(errs.String(), "with a new history") })
}

func TestFollowLimitsItsRequestsToAReaperThatDoesNotWait(t *testing.T) {
	t.Parallel()
	dir := nstest.ShortDir(t)
	requests := make(chan struct{}, 10000)
	serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/history" {
			requests <- struct{}{}
		}
		writeJSON(t, w, api.HistoryPage{History: "j", Since: apitest.Then()})
	})
	began := time.Now()
	_, _, stopFollow := startFollow(t, dir)
	for range 4 {
		<-requests
	}
	stopFollow()
	if took := time.Since(began); took < 2*retryInterval || len(requests) > 2 {
		t.Errorf("%d requests within %v", 4+len(requests), took)
	}
}

func TestFollowAsJSONPrintsOneLinePerSocket(t *testing.T) {
	dir := nstest.ShortDir(t)
	serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("history") != "" {
			<-r.Context().Done()
			return
		}
		writeJSON(t, w, apitest.Page())
	})
	out, _, stopFollow := startFollow(t, dir, "-o", "json")
	nstest.Eventually(t, patience, "all entries are shown", func() bool { return strings.Count(out.String(), "\n") == len(apitest.Entries()) })
	stopFollow()
	for i, line := range slices.Collect(strings.Lines(out.String())) {
		apitest.CheckJSONOf(t, line, apitest.Entries()[i])
	}
}

func TestFollowWithoutAReaperFails(t *testing.T) {
	code, stdout, stderr := call(t, nil, "history", "--follow", "--state-dir", nstest.ShortDir(t))
	if code != cmdline.Failure || stdout != "" || !strings.HasPrefix(stderr, "halfclose: no reaper is running") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}
