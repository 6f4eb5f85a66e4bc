// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// leakList returns groups of different shapes.
func leakList() api.LeakList {
	growth, still := 13.6, 0.0
	java := owners.Process{PID: 812, Command: "java"}
	web := state.Pod{Namespace: "shop", Name: "checkout-7d9f8b6c5-x2x7k"}
	return api.LeakList{
		Groups: []api.LeakGroup{
			{
				Pod: web, ContainerID: "c1", Netns: "/run/netns/a", Owners: []owners.Process{java}, OwnerCount: 1, State: inetdiag.CloseWait, Role: policy.RoleClient,
				Peer: "10.244.3.104:5432", Sockets: 310, Verdicts: map[string]int{"peer-alive": 300, "unread-data": 10}, Oldest: api.Seconds(26 * time.Hour),
				Newest: api.Seconds(time.Minute), Growth: &growth, Unread: 310, Held: 48, Ended: 50,
			},
			{
				Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Netns: "/run/netns/b", State: inetdiag.FinWait2, Local: "10.0.0.2:8080", Sockets: 2, OwnerCount: 3,
				Owners:   []owners.Process{{PID: 7, Command: "nginx"}, {PID: 8, Command: apitest.Hostile}, {PID: 9, Command: "nginx"}},
				Verdicts: map[string]int{"would-destroy": 2}, Oldest: api.Seconds(3 * time.Minute), Newest: api.Seconds(2 * time.Minute), Growth: &still,
			},
			{ContainerID: "0123456789abcdef0123", State: inetdiag.CloseWait, Role: policy.RoleServer, Local: "[fd00::2]:443", Sockets: 1, Verdicts: map[string]int{"within-grace": 1}},
		},
		Sockets: 320, Omitted: 4, Young: 3, Problems: []string{},
		Holders:   []api.DescriptorHolder{{Process: java, Pod: web, Held: 48, Ended: 50, Since: apitest.Then()}},
		NearLimit: []api.FileUse{{Process: java, Pod: web, Open: 1000, Limit: 1024}},
	}
}

// explanationOf returns an explanation of sockets and entries.
func explanationOf() explanation {
	list := apitest.Sockets()
	list[0].Rule, list[0].Role, list[0].AskIn = "rules[0], role client, network pods", policy.RoleClient, apitest.Seconds(12*time.Second)
	return explanation{Policies: []api.EffectivePolicy{}, Sockets: list, Omitted: 300, History: apitest.Entries()}
}

func TestScreensOfLeaks(t *testing.T) {
	shows := map[string]func(*env) error{
		"leaks":   func(e *env) error { return e.printLeaks(leakList()) },
		"explain": func(e *env) error { x := explanationOf(); return e.printExplanation(&x, true) },
	}
	for name, show := range shows {
		golden.Text(t, name, shown(t, show))
		for _, width := range []int{20, 40, 60, 80, 100, 132, 200, 400} {
			got := shownAt(t, width, show)
			termtest.CheckWidth(t, width, got)
			if strings.ContainsAny(got, "\x1b\t\a\u202e") {
				t.Errorf("%s has control characters:\n%q", name, got)
			}
		}
	}
	piped := shownAt(t, 0, shows["leaks"])
	table, _, _ := strings.Cut(piped, "4 smaller groups")
	if n := strings.Count(table, "\n"); n != 1+len(leakList().Groups) {
		t.Errorf("in a pipe the table has %d lines:\n%s", n, table)
	}
}

func TestLeaksAsksWithItsFlags(t *testing.T) {
	dir := nstest.ShortDir(t)
	var asked url.Values
	serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		writeJSON(t, w, leakList())
	})
	code, stdout, stderr := call(t, nil, "leaks", "--state-dir", dir, "-o", "json", "--all", "--pod", "web-1", "-n", "shop", "--state", "close-wait", "--verdict", "destroy",
		"--peer", "10.0.0.0/8", "--port", "443", "--local-port", "1", "--peer-port", "2", "--older-than", "1d", "--owner", "java", "--min", "3", "--limit", "5")
	want := url.Values{
		"all": {"true"}, "pod": {"web-1"}, "namespace": {"shop"}, "state": {"CLOSE_WAIT"}, "verdict": {"destroy"}, "peer": {"10.0.0.0/8"}, "port": {"443"},
		"local-port": {"1"}, "peer-port": {"2"}, "older-than": {"24h0m0s"}, "owner": {"java"}, "min": {"3"}, "limit": {"5"},
	}
	if diff := cmp.Diff(want, asked); diff != "" || code != exitSuccess || stderr != "" {
		t.Errorf("exit code %d, %s (-want +got)\n%s", code, stderr, diff)
	}
	var got api.LeakList
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(leakList(), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, args := range [][]string{{"--state", "LISTEN"}, {"--min", "-1"}, {"--peer", "web"}, {"--port", "0"}, {"--owner", ""}, {"--older-than", "1y"}, {"web-1"}} {
		if code, _, stderr := call(t, nil, append([]string{"leaks", "--state-dir", dir}, args...)...); code != exitUsage {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
}

func TestALateAnswerSaysHowOldItIs(t *testing.T) {
	dir := nstest.ShortDir(t)
	serveReaper(t, dir, func(w http.ResponseWriter, _ *http.Request) {
		list := leakList()
		list.Stale = api.Seconds(43 * time.Second)
		writeJSON(t, w, list)
	})
	code, _, stderr := call(t, nil, "leaks", "--state-dir", dir)
	if code != exitSuccess || !strings.Contains(stderr, "up to 43s ago") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
