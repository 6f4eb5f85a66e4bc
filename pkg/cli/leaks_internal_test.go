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
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
)

func TestLeaksAsksWithItsFlags(t *testing.T) {
	dir := nstest.ShortDir(t)
	var asked url.Values
	serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		writeJSON(t, w, apitest.Leaks())
	})
	code, stdout, stderr := call(t, nil, "leaks", "--state-dir", dir, "-o", "json", "--all", "--pod", "web-1", "-n", "shop", "--state", "close-wait", "--verdict", "destroy",
		"--peer", "10.0.0.0/8", "--port", "443", "--local-port", "1", "--peer-port", "2", "--older-than", "1d", "--owner", "java", "--min", "3", "--limit", "5")
	want := url.Values{
		"all": {"true"}, "pod": {"web-1"}, "namespace": {"shop"}, "state": {"CLOSE_WAIT"}, "verdict": {"destroy"}, "peer": {"10.0.0.0/8"}, "port": {"443"},
		"local-port": {"1"}, "peer-port": {"2"}, "older-than": {"24h0m0s"}, "owner": {"java"}, "min": {"3"}, "limit": {"5"},
	}
	if diff := cmp.Diff(want, asked); diff != "" || code != cmdline.Success || stderr != "" {
		t.Errorf("exit code %d, %s (-want +got)\n%s", code, stderr, diff)
	}
	var got api.LeakList
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(apitest.Leaks(), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, args := range [][]string{{"--state", "LISTEN"}, {"--min", "-1"}, {"--peer", "web"}, {"--port", "0"}, {"--owner", ""}, {"--older-than", "1y"}, {"web-1"}} {
		if code, _, stderr := call(t, nil, append([]string{"leaks", "--state-dir", dir}, args...)...); code != cmdline.Usage {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
}

func TestALateAnswerSaysHowOldItIs(t *testing.T) {
	dir := nstest.ShortDir(t)
	serveReaper(t, dir, func(w http.ResponseWriter, _ *http.Request) {
		list := apitest.Leaks()
		list.Stale = api.Seconds(43 * time.Second)
		writeJSON(t, w, list)
	})
	code, _, stderr := call(t, nil, "leaks", "--state-dir", dir)
	if code != cmdline.Success || !strings.Contains(stderr, "up to 43s ago") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
