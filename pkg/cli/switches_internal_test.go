// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestMistakesWithSwitchesAreUsageErrors(t *testing.T) {
	dir := nstest.ShortDir(t)
	for args, want := range map[string]string{
		"off":                    "the annotation halfclose.cni/mode of a pod",
		"--dry-run":              "--dry-run needs destroy",
		"--for 2h":               "--for and --reason need observe",
		"observe --dry-run":      "observe destroys nothing",
		"destroy --for 2h":       "--for needs observe",
		"destroy --reason x":     "--reason needs observe",
		"observe --for 2":        "such as 30m, 2h or 1d12h",
		"observe --for -2h":      "want a time from 1s to 365d",
		"observe --for 366d":     "want a time from 1s to 365d",
		"observe --for 0s":       "want a time from 1s to 365d",
		"observe --for 1e9d":     "want a time from 1s to 365d",
		"observe --pod a/b/c":    "without a slash",
		"observe --pod /b":       "want namespace/name",
		"observe --pod a/":       "want namespace/name",
		"observe --pod a/b -n c": "--pod a/b is not in --namespace c",
		"observe -n a/b":         "without a slash",
		"observe --reason " + strings.Repeat("x", 257): "--reason has 257 bytes",
	} {
		code, stdout, stderr := call(t, nil, append([]string{"mode", "--state-dir", dir}, strings.Fields(args)...)...)
		if code != cmdline.Usage || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("mode %s: exit code %d, stdout %q, stderr %q, want %q", args, code, stdout, stderr, want)
		}
	}
	if s, err := state.LoadSwitches(filepath.Join(dir, "mode")); err != nil || s.Node != nil || len(s.Scoped) > 0 {
		t.Errorf("they have set %+v, %v", s, err)
	}
}

func TestASwitchOfAPodIsSetWithoutAReaper(t *testing.T) {
	dir := nstest.ShortDir(t)
	path := filepath.Join(dir, "mode")
	before := time.Now()
	r := modeOf(t, cmdline.Success, "", dir, "observe", "--pod", "shop/web", "--for", "1d2h", "--reason", "INC-7")
	s, err := state.LoadSwitches(path)
	if err != nil || s.Node != nil || len(s.Scoped) != 1 {
		t.Fatalf("stored is %+v, %v", s, err)
	}
	sw := s.Scoped[0]
	if sw.Scope != (state.Scope{Namespace: "shop", Pod: "web"}) || sw.Mode != policy.Observe || sw.Who != "alice (sudo)" || sw.Reason != "INC-7" ||
		sw.Until.Sub(sw.When) != 26*time.Hour || sw.When.Before(before.Add(-time.Second)) {
		t.Errorf("stored is %+v", sw)
	}
	if len(r.Switches) != 1 || r.Unregistered != "pod shop/web" {
		t.Errorf("reported is %+v", r)
	}
	modeOf(t, cmdline.Success, "", dir, "observe", "-n", "shop")
	if r := modeOf(t, cmdline.Success, "", dir, "observe", "-n", "bank", "--pod", "web", "--who", "bob (kubectl)"); len(r.Switches) != 3 || r.Switches[0].Who != "bob (kubectl)" {
		t.Errorf("set for another user is %+v", r.Switches)
	}
	modeOf(t, cmdline.Success, "", dir, "observe", "--pod", "cart")
	if r := modeOf(t, cmdline.Success, "", dir, "--pod", "shop/web"); len(r.Switches) != 2 {
		t.Errorf("of the pod are %+v", r.Switches)
	}
	if r := modeOf(t, cmdline.Success, "", dir, "-n", "shop"); len(r.Switches) != 2 {
		t.Errorf("of the namespace are %+v", r.Switches)
	}
	if r := modeOf(t, cmdline.Success, "", dir, "--pod", "cart"); len(r.Switches) != 1 || r.Switches[0].ID != "cart" {
		t.Errorf("of the registration are %+v", r.Switches)
	}
	if r := modeOf(t, cmdline.Success, "", dir, "destroy", "--pod", "bank/web"); len(r.Switches) != 3 {
		t.Errorf("three are left, not %+v", r.Switches)
	}
	runReaper(t, dir)
	r = modeOf(t, cmdline.Failure, "the switch of pod shop/web is set to destroy, but the mode is observe because of the switch of namespace shop, set to observe by alice (sudo) at ",
		dir, "destroy", "--pod", "shop/web")
	if r.Effective != policy.Destroy || len(r.Switches) != 2 {
		t.Errorf("it is %+v", r)
	}
	modeOf(t, cmdline.Success, "", dir, "destroy", "-n", "shop")
	modeOf(t, cmdline.Success, "", dir, "destroy", "--pod", "cart")
	if r := modeOf(t, cmdline.Success, "", dir); len(r.Switches) > 0 || r.Switch != nil {
		t.Errorf("left is %+v", r)
	}
}

func TestANameWithoutANamespaceIsTheOnlyPodWithIt(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	record := func(pod, containerID string) state.Record {
		namespace, name, _ := strings.Cut(pod, "/")
		r := state.Record{Attachment: state.Attachment{ContainerID: containerID, IfName: "eth0"}, Network: "pods", Pod: state.Pod{Namespace: namespace, Name: name}}
		if containerID == "cart" {
			r.Attachment, r.Network = state.ManualAttachment("cart"), state.ManualNetwork
		}
		return r
	}
	listing := state.Listing{Records: []state.Record{
		record("shop/web", "a"+id[1:]), record("bank/web", "b"+id[1:]), record("shop/api", "c"+id[1:]), record("", id), record("", "cart"),
	}}
	for name, want := range map[string]state.Scope{
		"api":         {Namespace: "shop", Pod: "api"},
		id[:6]:        {ID: id},
		id:            {ID: id},
		"c" + id[1:5]: {Namespace: "shop", Pod: "api"},
		"cart":        {ID: "cart"},
		"car":         {ID: "car"}, // no registration yet
		"web":         {},
	} {
		got, err := findScope(listing, name)
		if got != want || (err != nil) != (name == "web") || err != nil && !strings.Contains(err.Error(), "pod bank/web, pod shop/web") {
			t.Errorf("%s is %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestADryRunPrintsEachPodAndItsCaps(t *testing.T) {
	dir := nstest.ShortDir(t)
	var asked string
	serveReaper(t, dir, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.RequestURI()
		writeJSON(t, w, api.DryRun{
			Destroys: 1215, Questions: 3, DestroysPerSecond: 1000, AsksPerSecond: 1000,
			Pods: []api.DryRunPod{
				{Pod: state.Pod{Namespace: "shop", Name: "web"}, Mode: policy.Destroy, HalfClosed: 1300, Destroys: 1215, Questions: 3},
				{Pod: state.Pod{Namespace: "shop", Name: apitest.Hostile}, Mode: policy.Observe, HalfClosed: 4, Kept: 2, CappedBy: []string{"the reaper's --mode observe", "its policy, mode observe"}},
			},
		})
	})
	code, stdout, stderr := call(t, nil, "mode", "destroy", "--dry-run", "--state-dir", dir)
	if code != cmdline.Success || stderr != "" || asked != "GET /v1/mode/dry-run" {
		t.Errorf("exit code %d, stderr %q, asked %q", code, stderr, asked)
	}
	golden.Text(t, "mode-dry-run", stdout)
	if call(t, nil, "mode", "destroy", "--dry-run", "--pod", "shop/web", "--state-dir", dir); asked != "GET /v1/mode/dry-run?namespace=shop&pod=web" {
		t.Errorf("asked %q", asked)
	}
}
