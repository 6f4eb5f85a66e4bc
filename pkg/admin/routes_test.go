// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// wrong returns the error of an answer.
func (a answer) wrong(tb testing.TB) string {
	tb.Helper()
	var p struct {
		Error *string `json:"error"`
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || p.Error == nil || a.header.Get("Content-Type") != "application/json" {
		tb.Fatalf("status %d, %s, without an error: %s", a.code, a.header.Get("Content-Type"), a.body)
	}
	return *p.Error
}

func TestAWrongRequestIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const long = `{"mode": "observe", "who": "`
	for _, tt := range []struct {
		method, path, body string
		code               int
		want               string
		allow              string
	}{
		{method: "GET", path: "/", code: 404, want: "404 page not found"},
		{method: "GET", path: "/v1/stats", code: 404, want: "404 page not found"},
		{method: "DELETE", path: "/v2/status", code: 404, want: "404 page not found"},
		{method: "GET", path: "/v1/status/", code: 404, want: "404 page not found"},
		{method: "GET", path: "/debug/pprof/no-such", code: 404, want: "Unknown profile"},

		{method: "POST", path: "/v1/status", code: 405, want: "Method Not Allowed", allow: "GET, HEAD"},
		{method: "DELETE", path: "/metrics", code: 405, want: "Method Not Allowed", allow: "GET, HEAD"},
		{method: "POST", path: "/v1/mode", code: 405, want: "Method Not Allowed", allow: "GET, HEAD, PUT"},
		{method: "GET", path: "/v1/handover", code: 405, want: "Method Not Allowed", allow: "POST"},
		{method: "PUT", path: "/debug/pprof/heap", code: 405, want: "Method Not Allowed", allow: "GET, HEAD"},

		{method: "GET", path: "/v1/sockets?sate=CLOSE_WAIT", code: 400, want: `unknown parameter "sate": known are address, all, local-port, namespace, netns, older-than, owner, owners, peer, peer-port, pod, port, state, verdict`},
		{method: "GET", path: "/v1/history?sinc=1h", code: 400, want: `unknown parameter "sinc": known are address, after, history, namespace, outcome, pod, since, tail, until, wait`},
		{method: "GET", path: "/v1/history?since=1h", code: 400, want: `since: want a time such as 2026-11-29T09:30:00Z, not "1h"`},
		{method: "GET", path: "/v1/history?tail=0", code: 400, want: `tail: want a number from 1 to 10000, not "0"`},
		{method: "GET", path: "/v1/history?tail=10001", code: 400, want: `tail: want a number from 1 to 10000`},
		{method: "GET", path: "/v1/history?outcome=gone", code: 400, want: `outcome: want one of destroyed, would-destroy, peer-gone, closed, failed, not "gone"`},
		{method: "GET", path: "/v1/history?address=web", code: 400, want: `address: "web" is not an address such as 10.0.0.7`},
		{method: "GET", path: "/v1/sockets?pod=a&pod=b", code: 400, want: `"pod" is given 2 times`},
		{method: "GET", path: "/v1/sockets?pod=%zz", code: 400, want: "invalid URL escape"},
		{method: "GET", path: "/v1/sockets?pod=a;state=b", code: 400, want: "semicolon"},
		{method: "GET", path: "/v1/sockets?state=CLOSED", code: 400, want: `state: unknown TCP state "CLOSED"`},
		{method: "GET", path: "/v1/sockets?state=ESTABLISHED", code: 400, want: "all=true"},
		{method: "GET", path: "/v1/sockets?verdict=maybe", code: 400, want: `verdict: unknown reason "maybe"`},
		{method: "GET", path: "/v1/sockets?all=yes", code: 400, want: `all: want true or false, not "yes"`},
		{method: "GET", path: "/v1/sockets?owners=2", code: 400, want: `owners: want true or false, not "2"`},
		{method: "GET", path: "/v1/history?after=-1", code: 400, want: `after: want the number of an entry, not "-1"`},
		{method: "GET", path: "/v1/history?wait=10", code: 400, want: `wait: want a duration such as 10s, not "10"`},
		{method: "GET", path: "/v1/history?wait=-1s", code: 400, want: `wait: want a duration of at least 0`},

		{method: "PUT", path: "/v1/mode", body: ``, code: 400, want: `want {"mode": "destroy" or "observe"`},
		{method: "PUT", path: "/v1/mode", body: `observe`, code: 400, want: `want {"mode"`},
		{method: "PUT", path: "/v1/mode", body: `null`, code: 400, want: ": no mode"},
		{method: "PUT", path: "/v1/mode", body: `{"who": "me"}`, code: 400, want: ": no mode"},
		{method: "PUT", path: "/v1/mode", body: `{"mode": "kill", "who": "me"}`, code: 400, want: `"kill"`},
		{method: "PUT", path: "/v1/mode", body: `{"mode": "off", "who": "me"}`, code: 400, want: "by the reaper's --mode off"},
		{method: "PUT", path: "/v1/mode", body: `{"mode": "destroy", "until": "2030-01-01T00:00:00Z"}`, code: 400, want: "until is for mode observe"},
		{method: "PUT", path: "/v1/mode", body: `{"mode": "observe", "pod": "web"}`, code: 400, want: "without a namespace"},
		{method: "PUT", path: "/v1/mode", body: `{"mode": "observe", "namespace": "shop/web"}`, code: 400, want: "without a slash"},
		{method: "PUT", path: "/v1/log-level", body: `{"level": "verbose"}`, code: 503, want: "no configuration to show"},
		{path: "/v1/config", code: 503, want: "no configuration to show"},
		{path: "/v1/mode/dry-run?pod=web", code: 400, want: "without a namespace"},
		{path: "/v1/mode/dry-run?name=web", code: 400, want: "unknown parameter"},
		{method: "PUT", path: "/v1/mode", body: `{"mode": "observe", "whom": "me"}`, code: 400, want: `unknown field "whom"`},
		{method: "PUT", path: "/v1/mode", body: `{"mode": "observe"} {"mode": "destroy"}`, code: 400, want: "unexpected data after the object"},
		{method: "PUT", path: "/v1/mode", body: `{"mode": "observe"} x`, code: 400, want: "unexpected data after the object"},
		{method: "PUT", path: "/v1/mode", body: `{"mode": "observe", "mode": "destroy"}`, code: 400, want: `key "mode" is given more than once`},
		{method: "PUT", path: "/v1/mode", body: `{"mode": "observe", "Mode": "destroy"}`, code: 400, want: `key "Mode" is given more than once`},
		{method: "PUT", path: "/v1/mode", body: `{"mode": "observe", "who": "me", "who": "you"}`, code: 400, want: `key "who" is given more than once`},
		{method: "PUT", path: "/v1/mode?mode=destroy", body: `{"mode": "observe"}`, code: 400, want: `unknown parameter "mode": this endpoint has none`},
		{method: "POST", path: "/v1/handover?force=true", code: 400, want: `unknown parameter "force"`},
		{method: "PUT", path: "/v1/log-level?level=debug", body: `{"level": "warn"}`, code: 400, want: `unknown parameter "level"`},
		{path: "/v1/status?verbose=1", code: 400, want: `unknown parameter "verbose": this endpoint has none`},
		{path: "/v1/config?x", code: 400, want: `unknown parameter "x"`},
		{path: "/v1/mode?pod=shop/web", code: 400, want: `unknown parameter "pod"`},
		{path: "/v1/policies?pod=a&pod=b", code: 400, want: `"pod" is given 2 times`},
		{path: "/v1/leaks?min=1&min=2", code: 400, want: `"min" is given 2 times`},
		{path: "/v1/history?tail=1&tail=2", code: 400, want: `"tail" is given 2 times`},
		{path: "/v1/mode/dry-run?namespace=a&namespace=b", code: 400, want: `"namespace" is given 2 times`},
		{path: "/debug/pprof/profile?seconds=1&seconds=60", code: 400, want: `"seconds" is given 2 times`},
		{path: "/debug/pprof/trace?debug=1", code: 400, want: `unknown parameter "debug"`},
		{path: "/debug/pprof/cmdline?debug=1", code: 400, want: `unknown parameter "debug"`},
		{method: "PUT", path: "/v1/mode", body: long + strings.Repeat("x", 16<<10) + `"}`, code: 413, want: "at most 16384 bytes"},
	} {
		t.Run(tt.method+" "+tt.path+" "+tt.body[:min(len(tt.body), 40)], func(t *testing.T) {
			a := n.do(n.unix, tt.method, "http://reaper"+tt.path, tt.body)
			if a.code != tt.code || a.header.Get("Allow") != tt.allow {
				t.Errorf("status %d, Allow %q, want %d and %q", a.code, a.header.Get("Allow"), tt.code, tt.allow)
			}
			text := a.body
			if tt.code != http.StatusNotFound && tt.code != http.StatusMethodNotAllowed { // which net/http answers
				text = a.wrong(t)
			}
			if !strings.Contains(text, tt.want) {
				t.Errorf("the answer is %q, without %q", text, tt.want)
			}
		})
	}
	if s, err := n.Status(t.Context()); err != nil || s.Mode.Effective != policy.Destroy || s.Mode.Switch != nil {
		t.Errorf("a refused request has changed the mode: %+v, %v", s.Mode, err)
	}
}

func TestHEADIsAnsweredWithoutABody(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, path := range []string{"/metrics", "/healthz", "/livez", "/v1/status", "/v1/sockets", "/v1/history", "/v1/mode", "/v1/policies", "/debug/pprof/heap"} {
		a := n.do(n.unix, http.MethodHead, "http://reaper"+path, "")
		if a.code != http.StatusOK || a.body != "" {
			t.Errorf("%s: status %d, body %q", path, a.code, a.body)
		}
	}
}

// TestScrapersAndProbesMayAddParameters, as some of their configurations do.
func TestScrapersAndProbesMayAddParameters(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, path := range []string{"/metrics?collect[]=all", "/healthz?verbose&x=1&x=2"} {
		for over, a := range map[string]answer{"unix": n.get(path), "tcp": n.getTCP(path)} {
			if a.code != http.StatusOK {
				t.Errorf("%s over %s: status %d: %s", path, over, a.code, a.body)
			}
		}
	}
}

func TestOnlyAReaperThatThePluginStartedHandsOver(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.server.Holder.StartedBy = api.BySystemd
	if a := n.do(n.unix, http.MethodPost, "http://reaper/v1/handover", ""); a.code != http.StatusConflict || !strings.Contains(a.wrong(t), "started by systemd") {
		t.Errorf("status %d: %s", a.code, a.body)
	}
	select {
	case <-n.handOver:
		t.Error("it hands over")
	default:
	}

	n = newNode(t)
	if err := n.HandOver(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-n.handOver:
	case <-time.After(patience):
		t.Error("it does not hand over")
	}
}

func TestHealthIsThatOfTheReaper(t *testing.T) {
	t.Parallel()
	t.Run("that works", func(t *testing.T) {
		n := newNode(t)
		for over, a := range map[string]answer{"unix": n.get("/healthz"), "tcp": n.getTCP("/healthz")} {
			if a.code != http.StatusOK || a.body != `{"status":"ok"}`+"\n" {
				t.Errorf("over %s: status %d: %s", over, a.code, a.body)
			}
		}
	})
	t.Run("that has stopped", func(t *testing.T) {
		n := newNode(t)
		n.end()
		for over, a := range map[string]answer{"unix": n.get("/healthz"), "tcp": n.getTCP("/healthz")} {
			if a.code != http.StatusServiceUnavailable || a.wrong(t) != "the reaper is stopping" {
				t.Errorf("over %s: status %d: %s", over, a.code, a.body)
			}
		}
		for _, path := range []string{"/metrics", "/v1/status", "/v1/sockets", "/v1/history", "/v1/mode"} {
			if a := n.get(path); a.code != http.StatusServiceUnavailable || a.wrong(t) != "the reaper is stopping" {
				t.Errorf("%s: status %d: %s", path, a.code, a.body)
			}
		}
	})
	t.Run("that does not answer", func(t *testing.T) {
		t.Parallel()
		n := stuckNode(t)
		for over, get := range map[string]func(string) answer{"unix": n.get, "tcp": n.getTCP} {
			t.Run("over "+over, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				a := get("/healthz")
				if took := time.Since(began); a.code != http.StatusServiceUnavailable || a.wrong(t) != "the reaper has not answered for 2s" || took > patience {
					t.Errorf("after %v: status %d: %s", took, a.code, a.body)
				}
				if a := get("/metrics"); a.code != http.StatusServiceUnavailable {
					t.Errorf("a scrape gets status %d: %s", a.code, a.body)
				}
			})
		}
	})
}

func TestARequestForTheHistoryWaitsForAnEntry(t *testing.T) {
	t.Parallel()
	ns := nstest.New(t)
	n := newNode(t)
	page, err := n.History(t.Context(), api.HistoryQuery{})
	if err != nil || len(page.Entries) != 0 {
		t.Fatalf("%+v, %v", page, err)
	}
	n.register(ns, state.Pod{Namespace: "shop", Name: "web"}, grace(time.Second, time.Hour))
	p := shut(t, ns)
	nstest.Eventually(t, patience, "an entry comes", func() bool { // each request waits for it
		next, err := n.History(t.Context(), api.HistoryQuery{History: page.History, After: page.Last, Wait: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		page = next
		return len(page.Entries) > 0
	})
	if e := page.Entries[0]; e.Local.String() != p.Server.LocalAddr().String() || e.Outcome != api.Destroyed {
		t.Errorf("it is %+v", e)
	}
	if page, err := n.History(t.Context(), api.HistoryQuery{History: page.History, After: page.Last, Wait: 10 * time.Millisecond}); err != nil || len(page.Entries) != 0 {
		t.Errorf("after that: %+v, %v", page, err)
	}
}
