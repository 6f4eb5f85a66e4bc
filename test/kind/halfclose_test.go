// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
)

// The release, its namespace, and how kubectl finds its objects.
const (
	release   = "halfclose"
	namespace = "kube-system"
	selector  = "app.kubernetes.io/name=halfclose"
	daemonSet = "daemonset/" + release
)

// helm runs a Helm command that must succeed.
func helm(t *testing.T, args ...string) string {
	t.Helper()
	return command(t, exec.Command(need(t, "helm"), args...))
}

// deploy installs or upgrades the chart with these values and no others, and waits until its pods are ready.
func deploy(t *testing.T, values ...string) {
	t.Helper()
	deployChart(t, need(t, "deploy/chart"), values...)
}

func deployChart(t *testing.T, chart string, values ...string) {
	t.Helper()
	args := []string{
		"upgrade", "--install", release, chart, "--reset-values", "--namespace", namespace, "--wait", "--timeout", slow.String(),
	}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	helm(t, args...)
	// Helm waits for fewer pods: it subtracts maxUnavailable.
	rolledOut(t)
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

// attachment returns the attachment of a pod of the default namespace from the reaper on a node.
func attachment(t *testing.T, node, pod string) (a api.AttachmentView, ok bool) {
	t.Helper()
	all := status(t, node).Attachments
	i := slices.IndexFunc(all, func(a api.AttachmentView) bool {
		return a.Pod.Namespace == "default" && a.Pod.Name == pod && a.Inert == ""
	})
	if i < 0 {
		return a, false
	}
	return all[i], true
}

// registered waits until a pod of the default namespace is registered.
func registered(t *testing.T, node, pod string) {
	t.Helper()
	nstest.Eventually(t, slow, "pod "+pod+" is registered", func() bool {
		_, ok := attachment(t, node, pod)
		return ok
	})
}

// sockets returns the half-closed sockets of a pod of the default namespace.
func sockets(t *testing.T, node, pod string) []api.SocketView {
	t.Helper()
	var view struct{ Sockets []api.SocketView }
	decode(t, halfclose(t, node, "sockets", "--output", "json"), &view)
	return slices.DeleteFunc(view.Sockets, func(s api.SocketView) bool { return s.Pod.Namespace != "default" || s.Pod.Name != pod })
}

// ageOf returns the age of the only half-closed socket of a pod of the default namespace.
func ageOf(t *testing.T, node, pod string) (age time.Duration, ok bool) {
	t.Helper()
	all := sockets(t, node, pod)
	if len(all) != 1 || all[0].Age == nil {
		return 0, false
	}
	return time.Duration(*all[0].Age), true
}

// history returns the outcomes in the worker's history for a pod of the default namespace.
func history(t *testing.T, pod string) (outcomes []string) {
	t.Helper()
	return outcomesOf(t, "history", pod)
}

// outcomesOf is history with the command's name in this or an earlier release.
func outcomesOf(t *testing.T, command, pod string) (outcomes []string) {
	t.Helper()
	var view struct{ Entries []api.Entry }
	decode(t, halfclose(t, worker, command, "--output", "json"), &view)
	for _, e := range view.Entries {
		if e.Pod.Namespace == "default" && e.Pod.Name == pod {
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
