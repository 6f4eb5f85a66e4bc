// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
)

// Right after an installation no command may look as if nothing leaked.
func TestCommandsSayThatNothingIsRegistered(t *testing.T) {
	const nothing = "nothing is registered, so no leak can be found"
	for name, tt := range map[string]struct {
		view api.AdoptionView
		want string
	}{
		"a network without our entry": {
			api.AdoptionView{Enabled: true, NotChained: []string{"pods", "\x1b[31m"}, Skipped: map[api.AdoptionReason]int{api.AdoptNotChained: 9}},
			nothing + ": the configuration of the networks pods, ",
		},
		"adoption is off": {
			api.AdoptionView{Adoptable: 3}, nothing + `: 3 running containers are not adopted: run "halfclose adopt", or the reaper without --adopt=false`,
		},
		"networks of another node": {
			api.AdoptionView{Enabled: true, Skipped: map[api.AdoptionReason]int{api.AdoptNoNetwork: 1}}, `see "halfclose adopt --dry-run"`,
		},
		"Docker": {
			api.AdoptionView{Enabled: true, Unregistered: 2, UnregisteredPaths: []string{"/run/docker/netns/1a2b"}},
			"2 network namespaces exist without a network of CNI that lists halfclose, such as /run/docker/netns/1a2b: see \"halfclose install --dry-run\"; without CNI: the reaper's --adopt-netns",
		},
		"nothing at all": {api.AdoptionView{Enabled: true}, `"halfclose install --dry-run" and "halfclose doctor"`},
	} {
		dir := nstest.ShortDir(t)
		serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/sockets") {
				writeJSON(t, w, api.SocketList{Sockets: []api.SocketView{}, Problems: []string{}})
				return
			}
			if strings.HasSuffix(r.URL.Path, "/history") {
				writeJSON(t, w, api.HistoryPage{Entries: []api.Entry{}})
				return
			}
			writeJSON(t, w, api.Status{ReaperStatus: api.ReaperStatus{Adoption: tt.view}})
		})
		for _, args := range [][]string{{"sockets"}, {"sockets", "-o", "json"}, {"status", "-o", "json"}} {
			code, _, stderr := call(t, nil, append(args, "--state-dir", dir)...)
			if code != cmdline.Success || !strings.Contains(stderr, nothing) || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "\x1b") {
				t.Errorf("%s, %v: exit code %d, %q, want %q", name, args, code, stderr, tt.want)
			}
		}
		if code, _, stderr := call(t, nil, "history", "--state-dir", dir); code != cmdline.Success || !strings.Contains(stderr, nothing) || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s, history: exit code %d, %q", name, code, stderr)
		}
		if code, stdout, stderr := call(t, nil, "status", "--state-dir", dir, "-o", "wide"); code != cmdline.Success || !strings.Contains(stdout, nothing) || stderr != "" {
			t.Errorf("%s, status: exit code %d, %q\n%s", name, code, stderr, stdout)
		}
	}
}

// adoptNode writes a network that lists halfclose, and an entry of the cache for a path without a network namespace.
func adoptNode(t *testing.T) (flags []string) {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{
		"conf/10.conflist": `{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}, {"type": "halfclose"}]}`,
		"cache/results/pods-web-eth0": `{"kind": "cniCacheV1", "containerId": "web", "ifName": "eth0", "networkName": "pods", "netns": "/run/netns/none",
			"cniArgs": [["K8S_POD_NAMESPACE", "shop"], ["K8S_POD_NAME", "web-1"]], "result": {"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.7/24"}]}}`,
		"cache/results/pods-cut-eth0": "",
	} {
		path := filepath.Join(dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--state-dir", filepath.Join(dir, "state"), "--cni-cache", dir + "/cache", "--cni-conf-dir", dir + "/conf"}
}

func TestAdoptListsWhatItDoesNotAdoptAndWhy(t *testing.T) {
	flags := adoptNode(t)
	for _, first := range []string{"adopt", "adopt --dry-run"} {
		code, stdout, stderr := call(t, nil, append(strings.Fields(first), flags...)...)
		for _, want := range []string{"shop/web-1", "no-netns", "no network namespace is at /run/netns/none", "/results/pods-cut-eth0", "unreadable"} {
			if code != cmdline.Success || stderr != "" || !strings.Contains(stdout, want) {
				t.Errorf("%s: exit code %d, %q, want %q\n%s", first, code, stderr, want, stdout)
			}
		}
		want := map[string]string{"adopt": "0 containers adopted", "adopt --dry-run": "0 containers would be adopted"}[first]
		if !strings.Contains(stdout, want) {
			t.Errorf("%s: no %q in\n%s", first, want, stdout)
		}
	}
	var all struct {
		Entries []struct{ ContainerID, Reason, File string }
		Skipped map[string]int
	}
	_, stdout, _ := call(t, nil, append([]string{"adopt", "-o", "json"}, flags...)...)
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || len(all.Entries) != 2 || all.Skipped["no-netns"] != 1 || all.Entries[1].Reason != "no-netns" {
		t.Errorf("%v, %+v\n%s", err, all, stdout)
	}
}

func TestAdoptFailsIfTheConfigurationCannotBeRead(t *testing.T) {
	flags := adoptNode(t)
	code, _, stderr := call(t, nil, append(append([]string{"adopt"}, flags...), "--cni-conf-dir", os.Args[0])...) // a file
	if code != cmdline.Failure || !strings.Contains(stderr, "the result is incomplete") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
