// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// addPod runs ADD for a container of a pod in the namespace shop, with a grace of 1s.
func (w *world) addPod(t *testing.T, c *container, name string) {
	t.Helper()
	add := w.plugin("ADD", c.attachment(), c.path, pluginConf(external+`, "grace": "1s"`))
	add.Env = append(add.Env, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME="+name)
	if r := run(t, add); r.code != 0 {
		t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
	}
}

// wouldDestroy waits until the history has a would-destroy for a number of sockets of a pod, and checks that none of the
// pod's sockets was destroyed.
func (w *world) wouldDestroy(t *testing.T, pod string, n int) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, "sockets of "+pod+" are found past their grace", func() bool {
		entries, _ := w.Entries() // none while no reaper answers
		found := 0
		for _, en := range entries {
			switch {
			case en.Pod.String() != pod:
			case en.Outcome == api.Destroyed:
				t.Fatalf("a socket of %s was destroyed", pod)
			case en.Outcome == api.WouldDestroy:
				found++
			}
		}
		return found >= n
	})
}

func TestTheSwitchOfAPodStopsThatPodAloneThroughACrashAndARebootUntilItEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web, api := newContainer(t, nil), newContainer(t, nil)
	first := w.start(t)
	w.holds(t, first.PID())

	// Before the pod is on the node.
	r := w.run(t, "mode", "observe", "--pod", "shop/web", "--for", "1h", "--reason", "INC-7")
	if r.code != 0 || r.stderr != "" || !strings.HasPrefix(r.stdout, "Mode      destroy\n") ||
		!strings.Contains(r.stdout, "pod shop/web: observe, set by ") || !strings.Contains(r.stdout, `reason "INC-7"`) ||
		!strings.Contains(r.stdout, "pod shop/web is not registered (yet)") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	w.addPod(t, web, "web")
	w.addPod(t, api, "api")
	kept, open := leak(t, web), web.Connect(t, nstest.IPv4)
	destroyed(t, "the neighbour's leak", leak(t, api))
	w.wouldDestroy(t, "shop/web", 1)

	first.Kill()
	second := w.start(t)
	w.holds(t, second.PID())
	destroyed(t, "the neighbour's leak after the crash", leak(t, api))
	w.wouldDestroy(t, "shop/web", 1)

	// A reboot leaves the switch alone; the pods are added again.
	second.Kill()
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "mode" {
			if err := os.RemoveAll(filepath.Join(w.dir, entry.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.addPod(t, web, "web")
	w.addPod(t, api, "api")
	third := w.start(t)
	w.holds(t, third.PID())
	destroyed(t, "the neighbour's leak after the reboot", leak(t, api))
	w.wouldDestroy(t, "shop/web", 1)
	if !lives(kept) {
		t.Error("the pod's leak is gone")
	}
	for _, a := range w.AwaitStatus().Attachments {
		capped := strings.Join(a.CappedBy, "; ")
		switch a.Pod.Name {
		case "web":
			if a.Mode != policy.Observe || !strings.Contains(capped, "the switch of pod shop/web, set to observe by ") {
				t.Errorf("shop/web has mode %v, capped by %q", a.Mode, capped)
			}
		case "api":
			if a.Mode != policy.Destroy || capped != "" {
				t.Errorf("shop/api has mode %v, capped by %q", a.Mode, capped)
			}
		}
	}
	if r := w.run(t, "status"); !strings.Contains(strings.Join(strings.Fields(r.stdout), " "), "Mode destroy, but observe for pod shop/web") {
		t.Errorf("status prints\n%s", r.stdout)
	}
	if r := w.run(t, "sockets", "--pod", "shop/web", "-o", "json"); !strings.Contains(r.stdout, "but the mode is observe (by the switch of pod shop/web)") {
		t.Errorf("sockets prints\n%s", r.stdout)
	}
	if r := w.run(t, "mode", "destroy", "--pod", "shop/web", "--dry-run", "-o", "json"); r.code != 0 || !strings.Contains(r.stdout, `"destroys": 2,`) {
		t.Errorf("the dry run: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if !lives(kept) {
		t.Error("the dry run has destroyed the leak")
	}

	if r := w.run(t, "mode", "observe", "--pod", "shop/web", "--for", "2s"); r.code != 0 {
		t.Errorf("--for 2s: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	destroyed(t, "the pod's leak after the end of the switch", kept)
	if r := w.run(t, "mode"); strings.Contains(r.stdout, "shop/web") {
		t.Errorf("the switch that has ended is shown:\n%s", r.stdout)
	}
	if _, err := open.Client.Write([]byte("x")); err != nil {
		t.Errorf("the open connection did not survive: %v", err)
	}
	if err := readByte(open.Server); err != nil {
		t.Errorf("the open connection did not survive: %v", err)
	}
}

func TestModeDestroySaysWhatGoesNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web, api := newContainer(t, nil), newContainer(t, nil)
	w.addPod(t, web, "web")
	w.addPod(t, api, "api")
	p := w.start(t)
	w.holds(t, p.PID())
	if r := w.run(t, "mode", "observe"); r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	for _, c := range []*container{web, web, api} {
		leak(t, c)
	}
	w.wouldDestroy(t, "shop/web", 4) // both ends of each connection
	w.wouldDestroy(t, "shop/api", 2)
	r := w.run(t, "mode", "destroy")
	if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, "6 sockets in 2 pods are past their grace and go now") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}
