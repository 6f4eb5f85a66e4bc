// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
)

// socketsOf runs halfclose sockets with a reaper that answers with list. asked is the query that the reaper received.
func socketsOf(t *testing.T, list api.SocketList, args ...string) (code int, stdout, stderr string, asked url.Values) {
	t.Helper()
	dir := nstest.ShortDir(t)
	serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/status":
			writeJSON(t, w, apitest.Status())
			return
		case "/livez":
			return
		}
		asked = r.URL.Query()
		list.Sockets = slices.DeleteFunc(slices.Clone(list.Sockets), func(v api.SocketView) bool {
			return asked.Has("verdict") && asked.Get("verdict") != v.Verdict.String()
		})
		writeJSON(t, w, list)
	})
	code, stdout, stderr = call(t, nil, append([]string{"sockets", "--state-dir", dir}, args...)...)
	return code, stdout, stderr, asked
}

func TestFlagsBecomeTheQuery(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want url.Values
	}{
		{"default", nil, url.Values{}},
		{
			"every flag",
			[]string{"--all", "--owners", "--pod", "shop/web-1", "--state", "fin-wait-2", "--verdict", "unread-data"},
			url.Values{"all": {"true"}, "owners": {"true"}, "pod": {"shop/web-1"}, "state": {"FIN_WAIT2"}, "verdict": {"unread-data"}},
		},
		{
			"kept by the mode",
			[]string{"--verdict", "would-destroy"},
			url.Values{"verdict": {"would-destroy"}},
		},
		{
			"an unknown verdict",
			[]string{"--verdict", "unknown"},
			url.Values{"verdict": {"unknown"}},
		},
		{
			"a namespace by process id",
			[]string{"--netns", "42"},
			url.Values{"netns": {"/proc/42/ns/net"}},
		},
		{
			"a namespace by path",
			[]string{"--netns", "/run/../run/netns/a", "--state", "listen"},
			url.Values{"netns": {"/run/netns/a"}, "state": {"LISTEN"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr, asked := socketsOf(t, api.SocketList{Sockets: apitest.Sockets()}, tt.args...)
			if code != cmdline.Success && stderr != "" {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			if diff := cmp.Diff(tt.want, asked); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestSocketsAreFilteredByVerdict(t *testing.T) {
	list := api.SocketList{Sockets: apitest.Sockets()}
	held := list.Sockets[1]
	for verdict, want := range map[string]string{"would-destroy": held.Peer, "destroy": "", "unknown": "", "orphan": list.Sockets[3].Peer} {
		_, stdout, _, _ := socketsOf(t, list, "--verdict", verdict, "-o", "json")
		var got api.SocketList
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatal(err)
		}
		var peers []string
		for _, v := range got.Sockets {
			peers = append(peers, v.Peer)
		}
		if strings.Join(peers, " ") != want {
			t.Errorf("%s: got %v, want %s", verdict, peers, want)
		}
	}
}

func TestAnEmptyListIsExplained(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no filter", nil, "no half-closed sockets; --all also lists the sockets in other states"},
		{"all states", []string{"--all"}, "no TCP sockets"},
		{"a state", []string{"--state", "CLOSE_WAIT"}, "no half-closed socket matches; --all also lists the sockets in other states"},
		{"a pod", []string{"--pod", "web-1"}, "no half-closed socket matches; --all also lists the sockets in other states"},
		{"all states with a filter", []string{"--all", "--state", "CLOSE_WAIT"}, "no TCP socket matches"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr, _ := socketsOf(t, api.SocketList{Sockets: []api.SocketView{}, Problems: []string{}}, tt.args...)
			if code != cmdline.Success || !strings.HasPrefix(stdout, "POD ") || strings.Count(stdout, "\n") != 1 || stderr != "halfclose: "+tt.want+"\n" {
				t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
			}
		})
	}
	_, stdout, stderr, _ := socketsOf(t, api.SocketList{Sockets: []api.SocketView{}, Problems: []string{}}, "-o", "json")
	if want := "{\n  \"sockets\": [],\n  \"problems\": []\n}\n"; stdout != want || !strings.HasPrefix(stderr, "halfclose: no half-closed sockets") {
		t.Errorf("as JSON it is\n%s%s", stdout, stderr)
	}
}

func TestAPodThatMatchesNothingIsAnError(t *testing.T) {
	const empty = "{\n  \"sockets\": [],\n  \"problems\": []\n}\n" // for a program that asks several nodes
	for _, tt := range []struct {
		args         []string
		want, stdout string
	}{
		{[]string{"--pod", "web-\n9"}, `--pod web-; 9`, ""},
		{[]string{"-n", "prod"}, "--namespace prod", ""},
		{[]string{"-n", "prod", "--pod", "web-1", "-o", "json"}, "--namespace prod --pod web-1", empty},
	} {
		code, stdout, stderr, _ := socketsOf(t, api.SocketList{Sockets: []api.SocketView{}, Problems: []string{}}, tt.args...)
		if want := "halfclose: no attachment matches " + tt.want + "; \"halfclose status --all\" lists them\n"; code != cmdline.Failure || stdout != tt.stdout || stderr != want {
			t.Errorf("%v: exit code %d\n%s%s", tt.args, code, stdout, stderr)
		}
	}
}

func TestALimitOfSocketsCountsTheOthers(t *testing.T) {
	all := apitest.Sockets()
	code, stdout, stderr, _ := socketsOf(t, api.SocketList{Sockets: all, Problems: []string{}}, "--limit", "1", "-o", "json")
	var got api.SocketList
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != cmdline.Success || len(got.Sockets) != 1 || got.Omitted != len(all)-1 {
		t.Errorf("exit code %d, %v\n%s", code, err, stdout)
	}
	if !strings.Contains(stderr, "not listed (--limit 1)") {
		t.Errorf("stderr is %q", stderr)
	}
}

func TestAnIncompleteListIsAnErrorInOneLine(t *testing.T) {
	code, stdout, stderr, _ := socketsOf(t, api.SocketList{Sockets: apitest.Sockets(), Problems: []string{"look at a\nb: gone", apitest.Hostile}})
	if want := "halfclose: the list is incomplete: look at a; b: gone; "; code != cmdline.Failure || !strings.HasPrefix(stderr, want) ||
		strings.Count(stderr, "\n") != 1 || !strings.Contains(stdout, "shop/web-1") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestStatusOfOnePod(t *testing.T) {
	dir := nstest.ShortDir(t)
	serveReaper(t, dir, func(w http.ResponseWriter, _ *http.Request) { writeJSON(t, w, apitest.CrowdedStatus()) })
	for _, tt := range []struct {
		pod, want, not string
	}{
		{"shop/web-4", "shop/web-4 ", "shop/web-5 "},
		{"web-5", "shop/web-5 ", "shop/web-4 "},
	} {
		code, stdout, stderr := call(t, nil, "status", "--state-dir", dir, "--pod", tt.pod)
		if code != cmdline.Success || stderr != "" || !strings.Contains(stdout, tt.want) || strings.Contains(stdout, tt.not) {
			t.Errorf("--pod %s: exit code %d\n%s%s", tt.pod, code, stdout, stderr)
		}
		_, stdout, _ = call(t, nil, "status", "--state-dir", dir, "--pod", tt.pod, "-o", "json")
		var got api.Status
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || len(got.Attachments) != strings.Count(tt.want, "shop/") {
			t.Errorf("--pod %s as JSON: %v\n%s", tt.pod, err, stdout)
		}
	}
	code, stdout, stderr := call(t, nil, "status", "--state-dir", dir, "--pod", "web-99")
	if want := "halfclose: no attachment matches --pod web-99; \"halfclose status --all\" lists them\n"; code != cmdline.Failure || stdout != "" || stderr != want {
		t.Errorf("an unknown pod: exit code %d\n%s%s", code, stdout, stderr)
	}
}
