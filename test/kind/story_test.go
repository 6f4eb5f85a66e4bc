// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// story is the state that the chapters share: they use one cluster, and each continues from the previous one.
type story struct {
	before  map[string]string // the nodes' networks before anything was installed
	without sandboxes         // created without halfclose in the chain
	with    sandboxes         // created with it
	server  string            // the address of the pod that the others connect to
}

// patience is the grace of the leaking client and its twin. Even on a busy machine the twin moves a byte in that time.
const patience = 10 * time.Second

// grace returns the annotations for a grace.
func grace(g string) map[string]string { return map[string]string{"halfclose.cni/grace": g} }

// patient returns the annotations for a leak that is neither destroyed nor probed while the test runs.
func patient() map[string]string {
	return map[string]string{"halfclose.cni/grace": "1h", "halfclose.cni/probe-after": "never"}
}

// unasked returns an annotation for a leak that only a grace ends: its peer is never asked.
func unasked() map[string]string { return map[string]string{"halfclose.cni/probe-after": "never"} }

func TestCluster(t *testing.T) {
	startDocker(t)
	startCluster(t)
	s := &story{before: map[string]string{}}
	for _, chapter := range []struct {
		claim string
		test  func(*testing.T)
	}{
		{"pods start and end before anything is installed", s.nothingInstalled},
		{"an upgrade from the release before loses no registration, no age and no switch", s.upgrade},
		{"the chart chains the plugin on every node, adopts running pods, and pods that start are registered", s.install},
		{"at first a leak is observed, and nothing destroyed", s.observe},
		{"one switch lets a leaking client be cleaned by its annotation's grace, and its well-behaved twin be left alone", s.destroy},
		{"a change of the policy reaches running pods without a rollout, and a mistake in it changes nothing", s.policyFile},
		{"programs that leak are cleaned, whatever they are written in", s.programs},
		{"the peers of a connection pool are asked, and the connections of peers that closed for good end", s.peers},
		{"pods on two nodes that half-close towards each other are cleaned by their own node", s.acrossNodes},
		{"an operator sees from inside the reaper's pod whose the sockets are, and what the node allows", s.operator},
		{"Prometheus finds the reapers by the chart's PodMonitor, and the rules know their labels", s.prometheus},
		{"kubectl halfclose shows all nodes, and stops all of them or one namespace", s.plugin},
		{"a rollout loses no pod, no socket's age, no history, and no pod that starts during the rollout", s.rollout},
		{"the entry comes back when another installer rewrites the network", s.rewritten},
		{"a hundred pods start and end with the chain in place, and leave no record", s.hundred},
		{"a node that is rebooted keeps its switch and its entry, and its pods are registered again", s.reboot},
		{"helm uninstall leaves nodes that start and end pods", s.uninstall},
		{"the plain manifest does all that, and its counterpart takes it back", s.manifest},
		{"what halfclose adds to the start of a pod is known", s.price},
	} {
		if !t.Run(chapter.claim, chapter.test) {
			t.Fatal("the next chapters depend on this one")
		}
	}
}

// works starts a pod on each node and deletes it.
func works(t *testing.T) {
	t.Helper()
	startPods(t, pod{name: "works-here", node: controlPlane, args: []string{"pause"}}, pod{name: "works-there", node: worker, args: []string{"pause"}})
	deletePods(t, "works-here", "works-there")
}

func (s *story) nothingInstalled(t *testing.T) {
	works(t)
	for _, node := range nodes() {
		s.before[node] = conflist(t, node)
	}
	s.without = churn(t, 20, nil)
}

// shop is a namespace with pods of its own.
const shop = "shop"

func (s *story) install(t *testing.T) {
	kubectl(t, "create", "namespace", shop)
	s.server = startPods(t,
		pod{name: "server", node: controlPlane, args: []string{
			"serve", ":7001", "close", "--", "serve", ":7002", "hold", "--", "serve", ":7003", "trickle", "--", "serve", ":7004", "echo",
		}})[0]
	// Pods that are older than halfclose.
	startPods(t,
		pod{name: "elder", node: controlPlane, annotations: grace(patience.String()), args: []string{
			"connect", s.server + ":7001", "leak", "--", "connect", s.server + ":7003", "shut",
		}})
	follow(t, "On a cluster:\n")
	rolledOut(t)
	helm(t, "test", release, "--namespace", namespace, "--timeout", slow.String())
	for _, node := range nodes() {
		if n := chained(t, node); n != 1 {
			t.Errorf("halfclose is %d times in the network of %s:\n%s", n, node, conflist(t, node))
		}
	}
	leak := []string{"connect", s.server + ":7001", "leak"}
	startPods(t,
		pod{name: "leaky", node: worker, annotations: grace(patience.String()), args: leak},
		pod{name: "twin", node: worker, annotations: grace(patience.String()), args: []string{
			"connect", s.server + ":7001", "close", "--", "connect", s.server + ":7003", "shut", "--", "connect", s.server + ":7004", "talk",
		}},
		// For policyFile.
		pod{name: shop + "/cart", node: worker, annotations: unasked(), args: leak},
		pod{name: shop + "/till", node: worker, annotations: unasked(), args: leak},
		pod{name: namespace + "/system", node: worker, annotations: grace("2s"), args: leak})
	registered(t, controlPlane, "server", "elder")
	registered(t, worker, "leaky", "twin", shop+"/cart", shop+"/till", namespace+"/system")
}

func (s *story) observe(t *testing.T) {
	nstest.Eventually(t, slow, "the leak is due", func() bool {
		return slices.Contains(history(t, "leaky"), api.WouldDestroy)
	})
	if a, _ := attachment(t, worker, "leaky"); a.Destroyed != 0 || a.WouldDestroy != 1 || a.Mode != policy.Observe {
		t.Errorf("of leaky's sockets %d were destroyed and %d would have been, in mode %s", a.Destroyed, a.WouldDestroy, a.Mode)
	}
	all := sockets(t, worker, "leaky")
	if len(all) != 1 || all[0].State != inetdiag.CloseWait {
		t.Errorf("leaky has %v, and not its one socket", all)
	}
	nstest.Eventually(t, slow, "the leak of a pod that is older than halfclose is due", func() bool {
		return slices.Contains(historyOn(t, controlPlane, "elder"), api.WouldDestroy)
	})
	if all := sockets(t, controlPlane, "elder"); len(all) != 2 {
		t.Errorf("the older pod has %v, and not its two sockets", all)
	}
}

func (s *story) destroy(t *testing.T) {
	follow(t, "Allow destruction on all nodes:\n")
	rolledOut(t)
	nstest.Eventually(t, slow, "the leak is gone", func() bool { return len(sockets(t, worker, "leaky")) == 0 })
	if got := history(t, "leaky"); !slices.Equal(got, []string{api.WouldDestroy, api.Destroyed}) { // the first by the reaper before
		t.Errorf("the history has %v of leaky", got)
	}
	nstest.Eventually(t, slow, "the leak of the older pod is gone, and its connection that still receives is not", func() bool {
		all := sockets(t, controlPlane, "elder")
		return len(all) == 1 && all[0].State == inetdiag.FinWait2
	})
	if got := historyOn(t, controlPlane, "elder"); !slices.Equal(got, []string{api.WouldDestroy, api.Destroyed}) {
		t.Errorf("the history has %v of the older pod", got)
	}
	s.twinIsAlone(t)
}

// policyFile changes the policy of a pod in the policy file, which is a ConfigMap. The DaemonSet's pods stay.
func (s *story) policyFile(t *testing.T) {
	reapers := []string{reaperPod(t, controlPlane), reaperPod(t, worker)}
	deploy(t, "mode=destroy", "policy.pods[0].name=carts", "policy.pods[0].match.namespace="+shop, "policy.pods[0].match.pod=cart*",
		"policy.pods[0].set.grace=2s")
	nstest.Eventually(t, slow, "the leak of the pod whose grace was shortened is destroyed", func() bool {
		return slices.Equal(history(t, shop+"/cart"), []string{api.Destroyed}) && len(sockets(t, worker, shop+"/cart")) == 0
	})
	// The excluded namespace's leak is past its grace for longer than that.
	got := history(t, namespace+"/system")
	if !slices.Contains(got, api.WouldDestroy) || slices.Contains(got, api.Destroyed) || len(sockets(t, worker, namespace+"/system")) != 1 {
		t.Errorf("the history has %v of a pod in an excluded namespace", got)
	}

	// A mistake that Helm did not see.
	wrong, err := json.Marshal(object{"data": object{"policy.yaml": "version: 1\npods: [{match: {namespace: " + shop + "}, set: {graze: 1s}}]\n"}})
	if err != nil {
		t.Fatal(err)
	}
	kubectl(t, "patch", "configmap", policyConfigMap, "--namespace", namespace, "--type", "merge", "--patch", string(wrong))
	for _, node := range nodes() {
		nstest.Eventually(t, slow, "the reaper on "+node+" reports the mistake", func() bool {
			f := status(t, node).PolicyFile
			return f.State == api.PolicyFileLastGood && len(f.Problems) == 1 && f.Problems[0].Line == 2
		})
	}
	if a, _ := attachment(t, worker, shop+"/cart"); a.Policy.CloseWaitGrace != policy.Patience(2*time.Second) {
		t.Errorf("with a mistake in the file the policy is %+v", a.Policy)
	}

	deploy(t, "mode=destroy")
	for _, node := range nodes() {
		nstest.Eventually(t, slow, "the corrected file is in force on "+node, func() bool {
			f := status(t, node).PolicyFile
			return f.State == api.PolicyFileInForce && len(f.Problems) == 0
		})
	}
	if a, _ := attachment(t, worker, shop+"/cart"); a.Policy.CloseWaitGrace != policy.Patience(time.Hour) {
		t.Errorf("after the entry was removed the policy is %+v", a.Policy)
	}
	if all := sockets(t, worker, shop+"/till"); len(all) != 1 || len(history(t, shop+"/till")) != 0 {
		t.Errorf("a pod that no entry names has %+v", all)
	}
	if now := []string{reaperPod(t, controlPlane), reaperPod(t, worker)}; !slices.Equal(now, reapers) {
		t.Errorf("a change of the policy replaced the DaemonSet's pods: %v were %v", now, reapers)
	}
	deletePods(t, shop+"/cart", shop+"/till", namespace+"/system")
}

// twinIsAlone checks that the twin is untouched: it has been half-closed for longer than its grace, and is still in
// use.
func (s *story) twinIsAlone(t *testing.T) {
	t.Helper()
	if got := history(t, "twin"); len(got) != 0 {
		t.Errorf("the history has %v of the twin", got)
	}
	all := sockets(t, worker, "twin")
	if len(all) != 1 || all[0].State != inetdiag.FinWait2 || all[0].Age == nil || time.Duration(*all[0].Age) < patience {
		t.Errorf("the twin has %+v, not its one old socket", all)
	}
	for _, port := range []string{":7003 after", ":7004 after"} { // not 7001, which the server has closed
		if log := podLog(t, "twin"); containsLine(log, s.server+port) {
			t.Errorf("a connection of the twin has ended:\n%s", log)
		}
	}
}

func (s *story) acrossNodes(t *testing.T) {
	// The pods here have a long grace, the one there has a short one: the other node's reaper destroys.
	here := startPods(t, pod{name: "here", node: controlPlane, annotations: grace("1h"), args: []string{"serve", ":7002", "hold"}})[0]
	there := startPods(t, pod{name: "there", node: worker, annotations: grace("2s"), args: []string{
		"serve", ":7002", "hold", "--", "connect", here + ":7002", "shut",
	}})[0]
	startPods(t, pod{name: "here-too", node: controlPlane, annotations: grace("1h"), args: []string{"connect", there + ":7002", "shut"}})
	awaitLog(t, "here", "after 12 bytes: EOF")
	awaitLog(t, "there", "after 12 bytes: EOF")
	nstest.Eventually(t, slow, "both connections are gone", func() bool {
		return len(sockets(t, worker, "there"))+len(sockets(t, controlPlane, "here"))+len(sockets(t, controlPlane, "here-too")) == 0
	})
	if a, _ := attachment(t, worker, "there"); a.Destroyed != 2 {
		t.Errorf("%d of the two connections were destroyed there", a.Destroyed)
	}
	for _, pod := range []string{"here", "here-too"} {
		if a, _ := attachment(t, controlPlane, pod); a.Destroyed != 0 {
			t.Errorf("%d sockets of %s were destroyed", a.Destroyed, pod)
		}
	}
	// The errors are those in the documentation.
	awaitLog(t, "there", "software caused connection abort")
	awaitLog(t, "here-too", "connection reset by peer")
	deletePods(t, "here", "here-too", "there")
}

func (s *story) price(t *testing.T) {
	t.Logf("a sandbox without halfclose takes %v, with it %v: %v more", s.without, s.with,
		(s.with.mean() - s.without.mean()).Round(100*time.Microsecond))
}
