// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// hostPlugin is the plugin on a node. hostLink is the link beside it with which the plugin starts a reaper if no DaemonSet
// does.
const (
	hostPlugin = "/opt/cni/bin/halfclose"
	hostLink   = hostPlugin + "-reaper"
)

// single returns the path of a file of the single-program release. If it could not be built, the test is skipped.
func single(t *testing.T, name string) string {
	t.Helper()
	path := need(t, "single/"+name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		nstest.Skip(t, "the release to upgrade from is built from the repository's history, which this clone lacks: run git fetch --unshallow")
	}
	return path
}

func (s *story) upgrade(t *testing.T) {
	kind(t, "load", "image-archive", single(t, "image.tar"), "--name", name)
	deployChart(t, single(t, "chart"), "image.tag=single", "mode=destroy")
	halfclose(t, worker, "mode", "observe")
	s.startAging(t)
	ages := make(map[string]time.Duration)
	for pod, node := range aging() {
		nstest.Eventually(t, slow, pod+"'s socket has some age", func() bool {
			age, ok := ageOf(t, node, pod)
			ages[pod] = age
			return ok && age >= 5*time.Second
		})
	}
	nstest.Eventually(t, slow, "the switch has spared a leak past its grace", func() bool {
		return slices.Contains(outcomesOf(t, "journal", "spared"), api.WouldDestroy) // its name in that release
	})
	before := make(map[string][]api.AttachmentView)
	for _, node := range nodes() {
		before[node] = status(t, node).Attachments
		if got, want := hostFile(t, node), digest(t, single(t, "bin/halfclose")); got != want {
			t.Fatalf("the old plugin is not the one on %s", node)
		}
	}

	from := time.Now()
	deploy(t, "mode=destroy")

	for _, node := range nodes() {
		s.isNew(t, node)
		sameAttachments(t, node, before[node], status(t, node).Attachments)
	}
	for pod, node := range aging() {
		s.beginsAgain(t, node, pod, ages[pod], from)
	}
	m := status(t, worker).Mode
	if m.Effective != policy.Observe || m.Switch == nil || m.Switch.Mode != policy.Observe {
		t.Errorf("the switch is not in force: %+v", m)
	}
	if m := status(t, controlPlane).Mode; m.Effective != policy.Destroy {
		t.Errorf("the node without a switch is in mode %s", m.Effective)
	}
	s.newPods(t)
	if a, _ := attachment(t, worker, "spared"); a.Destroyed != 0 || len(sockets(t, worker, "spared")) != 1 {
		t.Errorf("%d sockets were destroyed on a node that observes", a.Destroyed)
	}
	halfclose(t, worker, "mode", "destroy")
	nstest.Eventually(t, slow, "the spared leak is cleaned once the switch allows it", func() bool {
		return len(sockets(t, worker, "spared")) == 0
	})
	s.endAging(t)
	s.removeWithoutHook(t)
}

// beginsAgain checks that after the upgrade a socket has its whole patience, and the age that the kernel proves: the new
// reaper does not read the ages of the old one.
func (s *story) beginsAgain(t *testing.T, node, pod string, before time.Duration, upgraded time.Time) {
	t.Helper()
	all := sockets(t, node, pod)
	since := time.Since(upgraded)
	if len(all) != 1 || all[0].Age == nil || all[0].Idle == nil {
		t.Errorf("%s has %+v after the upgrade, and not its one socket", pod, all)
		return
	}
	age, idle := time.Duration(*all[0].Age), time.Duration(*all[0].Idle)
	if idle > since {
		t.Errorf("the socket of %s is idle for %v, and the upgrade began %v ago", pod, idle, since)
	}
	provable := !strings.HasPrefix(pod, receiver)
	if provable && age < before || !provable && age > since {
		t.Errorf("the socket of %s was %v old before the upgrade, which began %v ago, and is %v old after it", pod, before, since, age)
	}
}

// receiver is the prefix of the names of aging pods whose sockets still receive.
const receiver = "old-receiver"

// aging returns pods with one half-closed socket that exists during the upgrade, and their nodes. The kernel proves when a
// leaking socket became half-closed, but not when a socket did that still receives: only the reaper's files have that.
func aging() map[string]string {
	return map[string]string{"old-leak": controlPlane, "old-receiver": controlPlane, "old-leak-there": worker, "old-receiver-there": worker}
}

// startAging starts the pods that exist during the upgrade, and waits until they are registered.
func (s *story) startAging(t *testing.T) {
	t.Helper()
	server := startPods(t, pod{name: "old-server", node: controlPlane, args: []string{
		"serve", ":7001", "close", "--", "serve", ":7003", "trickle",
	}})[0]
	s.server = server
	pods := []pod{{name: "spared", node: worker, annotations: grace("2s"), args: []string{"connect", server + ":7001", "leak"}}}
	for name, node := range aging() {
		args := []string{"connect", server + ":7001", "leak"}
		if strings.HasPrefix(name, receiver) {
			args = []string{"connect", server + ":7003", "shut"}
		}
		pods = append(pods, pod{name: name, node: node, annotations: grace("1h"), args: args})
	}
	startPods(t, pods...)
	registered(t, controlPlane, "old-server")
	for _, p := range pods {
		registered(t, p.node, p.name)
	}
}

// endAging deletes the pods of startAging and newPods, and checks that the new plugin removes the records of the old one.
func (s *story) endAging(t *testing.T) {
	t.Helper()
	names := []string{"old-server", "spared", "new-here", "new-there"}
	for name := range aging() {
		names = append(names, name)
	}
	deletePods(t, names...)
	for _, node := range nodes() {
		nstest.Eventually(t, slow, "no pod of the test is registered on "+node, func() bool {
			return !slices.ContainsFunc(status(t, node).Attachments, func(a api.AttachmentView) bool {
				return slices.Contains(names, a.Pod.Name)
			})
		})
	}
}

// isNew checks that a node has the new plugin, one entry for it, and the new reaper.
func (s *story) isNew(t *testing.T, node string) {
	t.Helper()
	if got, want := hostFile(t, node), digest(t, need(t, "plugin")); got != want {
		t.Errorf("the plugin on %s is not the new one", node)
	}
	if out := onNode(t, node, "ls /opt/cni/bin"); strings.Contains(out, "halfclose-reaper") {
		t.Errorf("the DaemonSet runs the reaper, and %s on %s would start another", hostLink, node)
	}
	if n := chained(t, node); n != 1 {
		t.Errorf("halfclose is %d times in the network of %s:\n%s", n, node, conflist(t, node))
	}
	if v := status(t, node).Version.Version; v == "single" {
		t.Errorf("the reaper on %s is the old one", node)
	}
}

// sameAttachments checks that each attachment still exists, as the same registration of the same netns.
func sameAttachments(t *testing.T, node string, before, after []api.AttachmentView) {
	t.Helper()
	for _, b := range before {
		i := slices.IndexFunc(after, func(a api.AttachmentView) bool { return a.Attachment == b.Attachment })
		if i < 0 {
			t.Errorf("%s: the upgrade has lost the registration of %s", node, b.Pod)
			continue
		}
		a := after[i]
		if a.Network != b.Network || a.Pod != b.Pod || a.Netns != b.Netns || !a.Recorded.Equal(b.Recorded) || a.Inert != b.Inert {
			t.Errorf("%s: the registration of %s was\n%+v\nand is\n%+v", node, b.Pod, b, a)
		}
	}
}

// newPods checks that pods that start after the upgrade are registered and obey their node's switch.
func (s *story) newPods(t *testing.T) {
	t.Helper()
	startPods(t,
		pod{name: "new-here", node: controlPlane, annotations: grace("2s"), args: []string{"connect", s.server + ":7001", "leak"}},
		pod{name: "new-there", node: worker, annotations: grace("2s"), args: []string{"connect", s.server + ":7001", "leak"}})
	registered(t, controlPlane, "new-here")
	registered(t, worker, "new-there")
	nstest.Eventually(t, slow, "the new leak on the node without a switch is destroyed", func() bool {
		a, _ := attachment(t, controlPlane, "new-here")
		return a.Destroyed == 1 && len(sockets(t, controlPlane, "new-here")) == 0
	})
	nstest.Eventually(t, slow, "the new leak on the node that observes is past its grace", func() bool {
		return slices.Contains(history(t, "new-there"), api.WouldDestroy)
	})
	if a, _ := attachment(t, worker, "new-there"); a.Destroyed != 0 || len(sockets(t, worker, "new-there")) != 1 {
		t.Errorf("%d sockets of new-there were destroyed on a node that observes", a.Destroyed)
	}
}

// removeWithoutHook deletes the release without its hook, as for a node that cannot be reached, and then removes entry and
// plugin from each node with the image alone.
func (s *story) removeWithoutHook(t *testing.T) {
	t.Helper()
	image := kubectl(t, "get", daemonSet, "--namespace", namespace, "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	helm(t, "uninstall", release, "--namespace", namespace, "--no-hooks", "--wait", "--timeout", slow.String())
	for _, node := range nodes() {
		if n := chained(t, node); n != 1 {
			t.Errorf("without the hook %s has the entry %d times", node, n)
		}
	}
	works(t) // with a plugin whose reaper is gone
	for _, node := range nodes() {
		out := kubectl(t, "debug", "node/"+node, "--profile", "general", "--image", image, "--",
			"halfclose", "uninstall", "--host-root", "/host", "--remove-binary", "--force") // containerd runs no DEL from its cache
		debugger := "pod/" + strings.Fields(out)[3] // Creating debugging pod NAME
		kubectl(t, "wait", "--for", "jsonpath={.status.phase}=Succeeded", "--timeout", slow.String(), debugger)
		t.Log(kubectl(t, "logs", debugger))
		kubectl(t, "delete", debugger)
		if out := onNode(t, node, "ls /opt/cni/bin"); strings.Contains(out, "halfclose") {
			t.Errorf("uninstall leaves the plugin on %s:\n%s", node, out)
		}
		onNode(t, node, "rm -r /run/halfclose /var/lib/halfclose")
	}
	s.tookBack(t)
}

// hostFile returns the digest of the plugin on a node.
func hostFile(t *testing.T, node string) string {
	t.Helper()
	sum, _, _ := strings.Cut(onNode(t, node, "sha256sum "+hostPlugin), " ")
	return sum
}

// digest returns the digest of a file.
func digest(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
