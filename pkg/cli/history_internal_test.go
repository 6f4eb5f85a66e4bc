// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/api"
)

// historyOf runs halfclose history with a reaper that answers with somePage.
func historyOf(t *testing.T, page api.HistoryPage, args ...string) (stdout, stderr string) {
	t.Helper()
	dir := stateDir(t)
	answering(t, dir, func(w http.ResponseWriter, _ *http.Request) { answer(t, w, page) })
	var out, errs outputtest.Buffer
	e := &env{out: &out, err: &errs, getenv: func(string) string { return "" }, now: func() time.Time { return apitest.Then().Add(time.Minute) }}
	if code := run(t.Context(), append([]string{"history", "--state-dir", dir}, args...), e); code != exitSuccess {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	return out.String(), errs.String()
}

func TestTheHistoryListsWhatIsAskedFor(t *testing.T) {
	none := apitest.Page()
	none.Entries, none.Last, none.Missed = nil, 0, 0
	all := apitest.Page()
	all.Missed = 0
	for _, tt := range []struct {
		name string
		page api.HistoryPage
		args []string
		want []string // the peers
		says string
	}{
		{
			"everything, and that there was more", apitest.Page(), nil,
			[]string{"10.0.0.3:50000", "[fd00::3]:51234", "127.0.0.1:2"},
			"halfclose: 10 entries from before Jan  1 01:04:05 are kept no longer: see the reaper's log\n",
		},
		{
			"everything there was", all, nil,
			[]string{"10.0.0.3:50000", "[fd00::3]:51234", "127.0.0.1:2"},
			"halfclose: the history begins at Dec 31 03:04:05, when the reaper started\n",
		},
		{
			"what was since a time", apitest.Page(),
			[]string{"--since", "5m"},
			[]string{"[fd00::3]:51234", "127.0.0.1:2"},
			"halfclose: the history has all from then on\n",
		},
		{"since another", apitest.Page(), []string{"--since", "03:04"}, []string{"127.0.0.1:2"}, "halfclose: the history has all from then on\n"}, // prose:ok: an output, as it was
		{
			"since before it began", all,
			[]string{"--since", "2025-01-01T00:00:00Z"},
			[]string{"10.0.0.3:50000", "[fd00::3]:51234", "127.0.0.1:2"},
			"halfclose: the history begins at Dec 31 03:04:05, when the reaper started\n",
		},
		{"a pod's", apitest.Page(), []string{"--pod", "shop/web-1"}, []string{"10.0.0.3:50000"}, "10 entries"},
		{"a container's", all, []string{"--pod", "fedcba"}, []string{"[fd00::3]:51234", "127.0.0.1:2"}, "begins"},
		{"by outcome", all, []string{"--outcome", "would-destroy"}, []string{"10.0.0.3:50000"}, "begins"},
		{"what there is not", all, []string{"--pod", "web-9"}, nil, "halfclose: no entry matches; the history begins at Dec 31 03:04:05, when the reaper started\n"},
		{"nothing at all", none, nil, nil, "halfclose: nothing has been destroyed; the history begins at Dec 31 03:04:05, when the reaper started\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr := historyOf(t, tt.page, tt.args...)
			for _, en := range tt.page.Entries {
				wanted := false
				for _, peer := range tt.want {
					wanted = wanted || peer == en.Peer.String()
				}
				if strings.Contains(stdout, en.Peer.String()) != wanted {
					t.Errorf("%s is not as wanted:\n%s", en.Peer, stdout)
				}
			}
			if !strings.HasPrefix(stdout, "TIME ") {
				t.Errorf("there is no header:\n%s", stdout)
			}
			if !strings.Contains(stderr, tt.says) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("it says %q, want %q", stderr, tt.says)
			}
		})
	}
}

func TestASocketWhosePeerIsGoneIsListedWithHowAndWithoutAGrace(t *testing.T) {
	page := apitest.Page()
	e := &page.Entries[0]
	e.Outcome, e.How, e.Grace = api.PeerGone, "reset", 0
	stdout, _ := historyOf(t, page, "--outcome", api.PeerGone)
	if !strings.Contains(stdout, "peer-gone (reset)") || strings.Contains(stdout, "grace") || strings.Contains(stdout, page.Entries[1].Peer.String()) {
		t.Errorf("it is listed as\n%s", stdout)
	}
}

func TestTheHistoryAsJSONIsOneObjectAndNothingElse(t *testing.T) {
	stdout, stderr := historyOf(t, apitest.Page(), "-o", "json")
	golden.Text(t, "history-json", stdout)
	if stderr != "" {
		t.Errorf("it says %s", stderr)
	}
	if stdout, _ := historyOf(t, apitest.Page(), "-o", "json", "--pod", "web-9"); !strings.Contains(stdout, `"entries": []`) {
		t.Errorf("of none it is\n%s", stdout)
	}
}

// following runs halfclose history --follow on a state directory until end is called, which wants it to be a success.
func following(t *testing.T, dir string, args ...string) (out, errs *outputtest.Buffer, end func()) {
	t.Helper()
	out, errs = new(outputtest.Buffer), new(outputtest.Buffer)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	e := &env{out: out, err: errs, getenv: func(string) string { return "" }, now: func() time.Time { return apitest.Then().Add(time.Minute) }}
	go func() { ended <- run(ctx, append([]string{"history", "--follow", "--state-dir", dir}, args...), e) }()
	return out, errs, func() {
		t.Helper()
		cancel()
		if code := <-ended; code != exitSuccess {
			t.Errorf("exit code %d: %s", code, errs.String())
		}
	}
}

func TestFollowingGoesOnWithTheNextReaper(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	entries := apitest.Entries()
	asked := make(chan string, 100)
	serve := func(name string, first, later []api.Entry, missed uint64) func() {
		return answering(t, dir, func(w http.ResponseWriter, r *http.Request) {
			asked <- name
			page := api.HistoryPage{History: name, Since: apitest.Then(), Last: 1, Entries: first, Missed: missed}
			switch {
			case r.URL.Query().Get("history") != name:
			case r.URL.Query().Get("after") == "1" && later != nil:
				page.Entries, page.Last = later, 2
			default:
				<-r.Context().Done() // there is no more
				return
			}
			answer(t, w, page)
		})
	}
	stop := serve("first", entries[:1], entries[1:2], 0)
	out, errs, end := following(t, dir)
	defer end()
	nstest.Eventually(t, soon, "both entries are shown", func() bool {
		return strings.Contains(out.String(), "10.0.0.3:50000") && strings.Contains(out.String(), "[fd00::3]:51234")
	})
	stop()
	nstest.Eventually(t, soon, "it says that it waits", func() bool { return strings.Contains(errs.String(), "does not answer any more; waiting") })
	for len(asked) > 0 {
		<-asked
	}
	serve("second", entries[2:], nil, 7)
	nstest.Eventually(t, soon, "the entry of the next reaper is shown", func() bool { return strings.Contains(out.String(), "127.0.0.1:2") })
	for _, want := range []string{
		"the reaper was restarted at Jan  2 03:04:05 and has begun another history; what came last in the one before may be missing here",
		"7 entries are missing here",
	} {
		if strings.Count(errs.String(), want) != 1 {
			t.Errorf("it does not say %q once:\n%s", want, errs.String())
		}
	}
	for _, en := range entries {
		if strings.Count(out.String(), "peer "+en.Peer.String()+",") != 1 {
			t.Errorf("%s is not there once:\n%s", en.Peer, out.String())
		}
	}
}

func TestFollowingSaysAtOnceThatAnotherReaperAnswers(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	serve := func(name string) func() {
		return answering(t, dir, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("wait") {
				<-r.Context().Done() // nothing comes
				return
			}
			answer(t, w, api.HistoryPage{History: name, Since: apitest.Then()})
		})
	}
	stop := serve("first")
	_, errs, end := following(t, dir)
	defer end()
	nstest.Eventually(t, soon, "it follows", func() bool { return errs.String() != "" })
	stop()
	nstest.Eventually(t, soon, "it says that it waits", func() bool { return strings.Contains(errs.String(), "waiting for it, or for another") })
	serve("second")
	nstest.Eventually(t, soon, "it says that there is another", func() bool { return strings.Contains(errs.String(), "has begun another history") })
}

func TestFollowingAsksAReaperThatDoesNotWaitOnlyNowAndThen(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	asked := make(chan struct{}, 10000)
	answering(t, dir, func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		answer(t, w, api.HistoryPage{History: "j", Since: apitest.Then()})
	})
	began := time.Now()
	_, _, end := following(t, dir)
	for range 4 {
		<-asked
	}
	end()
	if took := time.Since(began); took < 2*reaskEvery || len(asked) > 2 {
		t.Errorf("it asked %d times within %v", 4+len(asked), took)
	}
}

func TestFollowingAsJSONIsALinePerSocket(t *testing.T) {
	dir := stateDir(t)
	answering(t, dir, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("history") != "" {
			<-r.Context().Done()
			return
		}
		answer(t, w, apitest.Page())
	})
	out, _, end := following(t, dir, "-o", "json")
	nstest.Eventually(t, soon, "all are shown", func() bool { return strings.Count(out.String(), "\n") == len(apitest.Entries()) })
	end()
	golden.Text(t, "history-follow-json", out.String())
}

func TestFollowingAReaperThatIsNotThereIsAFailure(t *testing.T) {
	code, stdout, stderr := call(t, nil, "history", "--follow", "--state-dir", stateDir(t))
	if code != exitFailure || stdout != "" || !strings.HasPrefix(stderr, "halfclose: no reaper is running") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestTheTableOfAPageThatIsFollowedGoesOnWithoutAnotherHeader(t *testing.T) {
	got := shown(t, func(e *env) error {
		show := e.entryTable()
		for _, en := range apitest.Entries() {
			if err := show([]api.Entry{en, en}); err != nil {
				return fmt.Errorf("show: %w", err)
			}
		}
		return nil
	})
	if n := strings.Count(got, "TIME"); n > 2 { // once more at most, when the second pod's name is longer
		t.Errorf("the header is there %d times:\n%s", n, got)
	}
}
