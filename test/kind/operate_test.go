// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// containsLine reports whether a line of the text contains a text.
func containsLine(text, part string) bool {
	return slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool { return strings.Contains(line, part) })
}

func (s *story) operator(t *testing.T) {
	for _, command := range [][]string{{"status", "--all", "--output", "wide"}, {"sockets", "--output", "wide"}, {"sockets", "--owners", "--output", "wide"}} {
		out := halfclose(t, worker, command...)
		if !containsLine(out, "default/twin") {
			t.Errorf("halfclose %s does not name the pod:\n%s", strings.Join(command, " "), out)
		}
	}
	if out := halfclose(t, worker, "sockets", "--owners", "--output", "wide"); !strings.Contains(out, "peer") {
		t.Errorf("halfclose sockets --owners does not name the process:\n%s", out)
	}
	if out := halfclose(t, worker, "history"); !containsLine(out, "default/leaky") {
		t.Errorf("halfclose history does not name the pod:\n%s", out)
	}
	for _, node := range nodes() {
		t.Logf("halfclose doctor on %s:\n%s", node, halfclose(t, node, "doctor"))
	}
}

func (s *story) rollout(t *testing.T) {
	startPods(t, pod{name: "aging", node: worker, annotations: patient(), args: []string{
		"connect", s.server + ":7001", "leak", "--", "connect", s.server + ":7003", "shut",
	}})
	before, earlier := agesOf(t, worker, "aging"), status(t, worker)
	// As an init container, doctor blocks the reaper if it finds a problem.
	upgradeRelease(t, need(t, "chart"), "mode=destroy", "doctor=true", "seccomp.enabled=true")
	var started []string
	for i := range 5 { // some of them while no reaper runs
		name := fmt.Sprint("during-rollout-", i)
		startPods(t, pod{name: name, node: worker, annotations: grace("2s"), args: []string{"connect", s.server + ":7001", "leak"}})
		started = append(started, name)
	}
	rolledOut(t)
	if now := status(t, worker); now.Holder.PID == earlier.Holder.PID || !now.Holder.Since.After(earlier.Holder.Since) {
		t.Errorf("it is the reaper of before: %+v", now.Holder)
	}
	before.goOn(t, worker, "aging")
	registered(t, worker, started...)
	for _, name := range started {
		nstest.Eventually(t, slow, name+" is cleaned", func() bool {
			return slices.Equal(history(t, name), []string{api.Destroyed}) && len(sockets(t, worker, name)) == 0
		})
	}
	// The history of both nodes is that of before, too.
	for pod, node := range map[string]string{"elder": controlPlane, "leaky": worker} {
		if got := historyOn(t, node, pod); !slices.Equal(got, []string{api.WouldDestroy, api.Destroyed}) {
			t.Errorf("after the rollout the history on %s has %v of %s", node, got, pod)
		}
	}
	names(t, "kubectl halfclose history", everywhere(t, "history", "--output", "wide"), controlPlane, "default/elder", worker, "default/leaky")
	deletePods(t, started...)
	s.twinIsAlone(t)
	s.confined(t)
}

// confined checks that from the rollout on reaper and installer run under their own seccomp profiles, and that these refuse
// nothing that the reaper needs: it has destroyed sockets under its profile.
func (s *story) confined(t *testing.T) {
	t.Helper()
	for _, node := range nodes() {
		pod := reaperPod(t, node)
		for container, profile := range map[string]string{
			"initContainers[?(@.name=='install')]": "installer", "initContainers[?(@.name=='doctor')]": "reaper", "containers[?(@.name=='reaper')]": "reaper",
			"containers[?(@.name=='watch')]": "installer",
		} {
			file := "halfclose/" + profile + ".json"
			got := kubectl(t, "get", "pod", pod, "--namespace", namespace, "-o", "jsonpath={.spec."+container+".securityContext.seccompProfile.localhostProfile}")
			if got != file {
				t.Errorf("on %s %s has the profile %q", node, container, got)
			}
			if text := onNode(t, node, "cat /var/lib/kubelet/seccomp/"+file); text != halfclose(t, node, "seccomp", profile) {
				t.Errorf("on %s %s is another profile:\n%s", node, file, text)
			}
		}
	}
	s.mayAsk(t)
}

func (s *story) rewritten(t *testing.T) {
	for _, node := range nodes() {
		rewrite(t, node, s.before[node])
		nstest.Eventually(t, slow, "the entry is back on "+node, func() bool { return chained(t, node) == 1 })
	}
	startPods(t, pod{name: "afterwards", node: worker, args: []string{"pause"}})
	registered(t, worker, "afterwards")
	deletePods(t, "afterwards")
}

func (s *story) hundred(t *testing.T) {
	kept := len(status(t, worker).Attachments)
	s.with = churn(t, 100, func() {
		nstest.Eventually(t, slow, "the batch is registered", func() bool { return len(status(t, worker).Attachments) == kept+batch })
	})
	nstest.Eventually(t, slow, "no record is left", func() bool { return len(status(t, worker).Attachments) == kept })
	if out := onNode(t, worker, "ls /run/halfclose/attachments"); len(strings.Fields(out)) != kept {
		t.Errorf("there are records of %d attachments, and not of %d:\n%s", len(strings.Fields(out)), kept, out)
	}
	if problems := status(t, worker).Problems; len(problems) != 0 {
		t.Errorf("the reaper has problems with its records: %v", problems)
	}
	s.twinIsAlone(t)
}

func (s *story) reboot(t *testing.T) {
	halfclose(t, worker, "mode", "observe")
	earlier := history(t, "leaky")
	docker(t, "kill", "--signal", "SIGRTMIN+3", worker) // systemd halts
	docker(t, "wait", worker)
	docker(t, "start", worker)
	nstest.Eventually(t, slow, "the node has booted and has a reaper", func() bool {
		out, err := tryHalfclose(t, worker, "status", "--output", "json")
		return err == nil && strings.Contains(out, `"twin"`)
	})
	nstest.Eventually(t, slow, "the pods are registered again", func() bool {
		_, leaky := attachment(t, worker, "leaky")
		_, twin := attachment(t, worker, "twin")
		return leaky && twin
	})
	if n := chained(t, worker); n != 1 {
		t.Errorf("halfclose is %d times in the network:\n%s", n, conflist(t, worker))
	}
	if m := status(t, worker).Mode; m.Effective != policy.Observe || m.Switch == nil || m.Switch.Mode != policy.Observe {
		t.Errorf("the switch was not kept: %+v", m)
	}
	nstest.Eventually(t, slow, "the leak exists again, and is observed", func() bool {
		return slices.Equal(history(t, "leaky"), append(slices.Clip(earlier), api.WouldDestroy)) // and the history was kept
	})
	halfclose(t, worker, "mode", "destroy")
	nstest.Eventually(t, slow, "the leak is cleaned", func() bool {
		return slices.Equal(history(t, "leaky"), append(slices.Clip(earlier), api.WouldDestroy, api.Destroyed))
	})
}

func (s *story) uninstall(t *testing.T) {
	helm(t, "uninstall", release, "--namespace", namespace, "--wait", "--timeout", slow.String())
	s.tookBack(t)
	// Pods that were created with halfclose are deleted without it.
	deletePods(t, "server", "elder", "leaky", "twin", "aging")
	s.without = s.without.plus(churn(t, 20, nil))
}

// tookBack checks that the networks of the nodes are as they were before the installation.
func (s *story) tookBack(t *testing.T) {
	t.Helper()
	for _, node := range nodes() {
		if now := conflist(t, node); chained(t, node) != 0 || now != s.before[node] {
			t.Errorf("the network of %s is not what it was:\n%s\nwas\n%s", node, now, s.before[node])
		}
	}
	nstest.Eventually(t, slow, "nothing is left in the cluster", func() bool {
		return kubectl(t, "get", "all,configmaps,serviceaccounts,roles,rolebindings", "--namespace", namespace, "--selector", selector, "--output", "name") == ""
	})
	works(t)
}

func (s *story) manifest(t *testing.T) {
	kubectl(t, "apply", "-f", need(t, "deploy/halfclose.yaml"))
	rolledOut(t)
	startPods(t, pod{name: "registered", node: worker, args: []string{"pause"}})
	registered(t, worker, "registered")
	kubectl(t, "apply", "-f", need(t, "deploy/halfclose-uninstall.yaml"))
	rolledOut(t)
	works(t)
	kubectl(t, "delete", "-f", need(t, "deploy/halfclose-uninstall.yaml"), "--wait")
	nstest.Eventually(t, slow, "its pods are gone", func() bool { return reaperPod(t, worker) == "" && reaperPod(t, controlPlane) == "" })
	s.tookBack(t)
	deletePods(t, "registered")
}
