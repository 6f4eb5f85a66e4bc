// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// hostPlugin is the plugin on a node. hostLink is the link beside it with which the plugin starts a reaper if no DaemonSet
// does.
const (
	hostPlugin = "/opt/cni/bin/halfclose"
	hostLink   = hostPlugin + "-reaper"
)

// previous returns the path of a file of the release before. If it could not be built, the test is skipped.
func previous(t *testing.T, name string) string {
	t.Helper()
	path := need(t, "previous/"+name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		nstest.Skip(t, "the release to upgrade from is built from the repository's history, which this clone lacks: run git fetch --unshallow")
	}
	return path
}

// previousVersion is the version of the release before, and the tag of its image.
const previousVersion = "previous"

func (s *story) upgrade(t *testing.T) {
	kind(t, "load", "image-archive", previous(t, "image.tar"), "--name", name)
	deployChart(t, previous(t, "chart"), "image.tag="+previousVersion, "mode=destroy", "policy.grace=45m")
	halfclose(t, worker, "mode", "observe")
	s.startOld(t)
	nstest.Eventually(t, slow, "the switch has spared a leak past its grace", func() bool {
		return slices.Equal(history(t, "old-there"), []string{api.WouldDestroy})
	})
	before, old := make(map[string][]api.AttachmentView), make(map[string]ages)
	for pod, node := range map[string]string{"old-here": controlPlane, "old-there": worker} {
		before[node], old[pod] = status(t, node).Attachments, agesOf(t, node, pod)
		if got, want := hostFile(t, node), digest(t, previous(t, "bin/cni/halfclose")); got != want {
			t.Fatalf("the old plugin is not the one on %s", node)
		}
	}
	s.refusesOldValues(t)

	deploy(t, "mode=destroy", "policy.defaults.grace=30m")

	for pod, node := range map[string]string{"old-here": controlPlane, "old-there": worker} {
		s.isNew(t, node)
		sameAttachments(t, node, before[node], status(t, node).Attachments)
		old[pod].goOn(t, node, pod)
	}
	// The policy file is above the policy that the old plugin recorded.
	if a, _ := attachment(t, controlPlane, "old-server"); a.Policy.CloseWaitGrace != policy.Patience(30*time.Minute) {
		t.Errorf("after the upgrade a running pod has the policy %+v", a.Policy)
	}
	m := status(t, worker).Mode
	if m.Effective != policy.Observe || m.Switch == nil || m.Switch.Mode != policy.Observe {
		t.Errorf("the switch is not in force: %+v", m)
	}
	if m := status(t, controlPlane).Mode; m.Effective != policy.Destroy {
		t.Errorf("the node without a switch is in mode %s", m.Effective)
	}
	s.newPods(t)
	if got := history(t, "old-there"); !slices.Contains(got, api.WouldDestroy) || slices.Contains(got, api.Destroyed) {
		t.Errorf("the history on a node that observes has %v after the upgrade", got)
	}
	halfclose(t, worker, "mode", "destroy")
	nstest.Eventually(t, slow, "the spared leak is cleaned once the switch allows it, and the connection beside it is kept", func() bool {
		all := sockets(t, worker, "old-there")
		return len(all) == 1 && all[0].State == inetdiag.FinWait2
	})
	s.endOld(t)
	s.removeWithoutHook(t)
}

// refusesOldValues checks that an upgrade with a value that has moved fails with its name, and changes nothing.
func (s *story) refusesOldValues(t *testing.T) {
	t.Helper()
	_, err := output(exec.Command(need(t, "helm"), "upgrade", release, need(t, "chart"), "--namespace", namespace, "--reset-then-reuse-values"))
	if err == nil || !strings.Contains(err.Error(), "grace") {
		t.Errorf("an upgrade with the value policy.grace: %v", err)
	}
	if v := status(t, worker).Version.Version; v != previousVersion {
		t.Errorf("after an upgrade that was refused, the reaper is %s", v)
	}
}

// startOld starts the pods that exist during the upgrade, and waits until they are registered. Two of them have a leak, whose
// age the kernel proves, and a connection that still receives, whose age only the reaper's files have.
func (s *story) startOld(t *testing.T) {
	t.Helper()
	s.server = startPods(t, pod{name: "old-server", node: controlPlane, args: []string{
		"serve", ":7001", "close", "--", "serve", ":7003", "trickle",
	}})[0]
	both := []string{"connect", s.server + ":7001", "leak", "--", "connect", s.server + ":7003", "shut"}
	startPods(t,
		pod{name: "old-here", node: controlPlane, annotations: patient(), args: both},
		pod{name: "old-there", node: worker, args: both, annotations: map[string]string{
			"halfclose.cni/close-wait-grace": "2s", "halfclose.cni/fin-wait2-grace": "1h", "halfclose.cni/probe-after": "never",
		}})
	registered(t, controlPlane, "old-server", "old-here")
	registered(t, worker, "old-there")
}

// endOld deletes the pods of startOld and newPods, and checks that the new plugin removes the records of the old one.
func (s *story) endOld(t *testing.T) {
	t.Helper()
	names := []string{"old-server", "old-here", "old-there", "new-here", "new-there"}
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
	if v := status(t, node).Version.Version; v == previousVersion {
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
	debuggers := make(map[string]string)
	for _, node := range nodes() {
		out := kubectl(t, "debug", "node/"+node, "--profile", "general", "--image", image, "--",
			"halfclose", "uninstall", "--host-root", "/host", "--remove-binary", "--force") // containerd runs no DEL from its cache
		debuggers[node] = "pod/" + strings.Fields(out)[3] // Creating debugging pod NAME
	}
	for node, debugger := range debuggers {
		kubectl(t, "wait", "--for", "jsonpath={.status.phase}=Succeeded", "--timeout", slow.String(), debugger)
		t.Log(kubectl(t, "logs", debugger))
		kubectl(t, "delete", "--wait=false", debugger)
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
