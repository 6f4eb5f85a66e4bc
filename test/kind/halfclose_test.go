// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testpage"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/state"
)

// The release, its namespace, and how kubectl finds its objects.
const (
	release   = "halfclose"
	namespace = "kube-system"
	selector  = "app.kubernetes.io/name=halfclose"
	daemonSet = "daemonset/" + release
	// policyConfigMap has the policy file.
	policyConfigMap = release + "-policy"
)

// helm runs a Helm command that must succeed.
func helm(t *testing.T, args ...string) string {
	t.Helper()
	return command(t, exec.Command(need(t, "helm"), args...))
}

// follow runs the first commands of README.md after a text as printed, in the repository, whose dist has a release.
func follow(t *testing.T, after string) {
	t.Helper()
	commands, err := testpage.Commands(filepath.Join(top, "README.md"), after)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-euxc", strings.Join(commands, "\n"))
	cmd.Dir = top
	t.Log(command(t, cmd))
}

// deploy installs or upgrades the chart with these values and no others, and waits until its pods are ready.
func deploy(t *testing.T, values ...string) {
	t.Helper()
	deployChart(t, need(t, "chart"), values...)
}

func deployChart(t *testing.T, chart string, values ...string) {
	t.Helper()
	upgradeRelease(t, chart, values...)
	rolledOut(t) // Helm's own --wait subtracts maxUnavailable
}

// upgradeRelease installs or upgrades the release, and waits for no pod.
func upgradeRelease(t *testing.T, chart string, values ...string) {
	t.Helper()
	args := []string{"upgrade", "--install", release, chart, "--reset-values", "--namespace", namespace, "--timeout", slow.String()}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	helm(t, args...)
}

func rolledOut(t *testing.T) {
	t.Helper()
	kubectl(t, "rollout", "status", daemonSet, "--namespace", namespace, "--timeout", slow.String())
}

// reaperPod returns the name of the DaemonSet's running pod on a node, empty if there is none.
func reaperPod(t *testing.T, node string) string {
	t.Helper()
	var list struct {
		Items []struct {
			Metadata struct{ Name, DeletionTimestamp string }
			Status   struct{ Phase string }
		}
	}
	getInto(t, &list, "pods", "--namespace", namespace, "--selector", selector, "--field-selector", "spec.nodeName="+node)
	for _, p := range list.Items {
		if p.Status.Phase == "Running" && p.Metadata.DeletionTimestamp == "" {
			return p.Metadata.Name
		}
	}
	return ""
}

// halfclose runs a halfclose command in the reaper's container on a node, as an operator does.
func halfclose(t *testing.T, node string, args ...string) string {
	t.Helper()
	out, err := tryHalfclose(t, node, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryHalfclose(t *testing.T, node string, args ...string) (string, error) {
	t.Helper()
	pod := reaperPod(t, node)
	if pod == "" {
		return "", errors.New("no reaper runs on " + node)
	}
	return tryKubectl(t, append([]string{"exec", "--namespace", namespace, pod, "--container", "reaper", "--", "halfclose"}, args...)...)
}

// status returns the status of the reaper on a node.
func status(t *testing.T, node string) (s api.Status) {
	t.Helper()
	decode(t, halfclose(t, node, "status", "--output", "json"), &s)
	return s
}

// is reports whether a pod that the reaper names is this one.
func is(p state.Pod, pod string) bool {
	namespace, name := split(pod)
	return p.Namespace == namespace && p.Name == name
}

// attachment returns the attachment of a pod from the reaper on a node.
func attachment(t *testing.T, node, pod string) (a api.AttachmentView, ok bool) {
	t.Helper()
	all := status(t, node).Attachments
	i := slices.IndexFunc(all, func(a api.AttachmentView) bool { return is(a.Pod, pod) && a.Inert == "" })
	if i < 0 {
		return a, false
	}
	return all[i], true
}

// registered waits until pods are registered on a node.
func registered(t *testing.T, node string, pods ...string) {
	t.Helper()
	nstest.Eventually(t, slow, "on "+node+" the pods "+strings.Join(pods, ", ")+" are registered", func() bool {
		all := status(t, node).Attachments
		return !slices.ContainsFunc(pods, func(pod string) bool {
			return !slices.ContainsFunc(all, func(a api.AttachmentView) bool { return is(a.Pod, pod) && a.Inert == "" })
		})
	})
}

// sockets returns the half-closed sockets of a pod.
func sockets(t *testing.T, node, pod string) []api.SocketView {
	t.Helper()
	var view struct{ Sockets []api.SocketView }
	decode(t, halfclose(t, node, "sockets", "--output", "json"), &view)
	return slices.DeleteFunc(view.Sockets, func(s api.SocketView) bool { return !is(s.Pod, pod) })
}

// ages are the ages of a pod's half-closed sockets, by state, at a time.
type ages struct {
	at time.Time
	of map[inetdiag.State]time.Duration
}

// agesOf waits until the reaper knows the ages of a pod's half-closed sockets: one of each state.
func agesOf(t *testing.T, node, pod string) (a ages) {
	t.Helper()
	nstest.Eventually(t, slow, "the sockets of "+pod+" have ages", func() bool {
		a.of = make(map[inetdiag.State]time.Duration)
		for _, s := range sockets(t, node, pod) {
			if s.Age != nil {
				a.of[s.State] = time.Duration(*s.Age)
			}
		}
		return len(a.of) == 2
	})
	a.at = time.Now() // after the query
	return a
}

// goOn checks that another reaper continues the ages.
func (a ages) goOn(t *testing.T, node, pod string) {
	t.Helper()
	passed := time.Since(a.at) // before the query, which may take seconds
	now := agesOf(t, node, pod)
	for state, before := range a.of {
		if now.of[state] < before+passed-time.Second {
			t.Errorf("a %v socket of %s was %v old, and is %v old %v later", state, pod, before, now.of[state], passed)
		}
	}
}

// history returns the outcomes in the worker's history for a pod.
func history(t *testing.T, pod string) (outcomes []string) {
	t.Helper()
	return historyOn(t, worker, pod)
}

// historyOn returns the outcomes in a node's history for a pod.
func historyOn(t *testing.T, node, pod string) (outcomes []string) {
	t.Helper()
	var view struct{ Entries []api.Entry }
	decode(t, halfclose(t, node, "history", "--output", "json"), &view)
	for _, e := range view.Entries {
		if is(e.Pod, pod) {
			outcomes = append(outcomes, e.Outcome)
		}
	}
	return outcomes
}

// chained counts the entries for halfclose in the network of a node.
func chained(t *testing.T, node string) (times int) {
	t.Helper()
	var network struct{ Plugins []struct{ Type string } }
	decode(t, conflist(t, node), &network)
	for _, p := range network.Plugins {
		if p.Type == "halfclose" {
			times++
		}
	}
	return times
}

// conflist returns the network of a node: the file that its runtime loads.
func conflist(t *testing.T, node string) string {
	t.Helper()
	return onNode(t, node, `cat "$(ls /etc/cni/net.d/*.conflist | head -n 1)"`)
}

// rewrite replaces the network of a node, as the installer of a network plugin does.
func rewrite(t *testing.T, node, conflist string) {
	t.Helper()
	cmd := exec.Command("docker", "exec", "--interactive", node, "sh", "-euc",
		`f=$(ls /etc/cni/net.d/*.conflist | head -n 1); cat >"$f.tmp"; mv "$f.tmp" "$f"`)
	cmd.Stdin = strings.NewReader(conflist)
	command(t, cmd)
}
