// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package kube finds the pods of halfclose's DaemonSet, and runs commands in them.
package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/halfclose/halfclose/cluster/fleet"
)

// The names in the DaemonSet of the chart.
const (
	Label     = "app.kubernetes.io/name=halfclose"
	Container = "reaper"
	command   = "halfclose"
)

// Cluster is a connection to an API server.
type Cluster struct {
	config *rest.Config
	core   core.CoreV1Interface
	auth   authentication.AuthenticationV1Interface
}

// New returns a connection with a configuration.
func New(config *rest.Config) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // a command is one request for each node, at most Fleet.Parallel at a time
	c, err := core.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	a, err := authentication.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Cluster{config: config, core: c, auth: a}, nil
}

// Selection selects nodes.
type Selection struct {
	DaemonSetNamespace string   // "": all
	Nodes              []string // empty: all
	NodeLabels         string   // a label selector; "": all
}

// Found is what Agents finds.
type Found struct {
	Agents []fleet.Agent // one for each node with a pod of the DaemonSet
	// Without are the selected Linux nodes without such a pod.
	Without []string
	// Problem is why Without is unknown, "" if it is known.
	Problem string
}

// Agents returns the pods of the DaemonSet on the selected nodes, sorted by node.
func (c *Cluster) Agents(ctx context.Context, s Selection) (Found, error) {
	nodes, nodesErr := c.nodes(ctx, s.NodeLabels)
	if nodesErr != nil && s.NodeLabels != "" {
		return Found{}, fmt.Errorf("list nodes for --selector: %w", nodesErr)
	}
	list, err := c.core.Pods(s.DaemonSetNamespace).List(ctx, metav1.ListOptions{LabelSelector: Label})
	switch {
	case apierrors.IsForbidden(err) && s.DaemonSetNamespace == "":
		return Found{}, fmt.Errorf("find the pods of halfclose: %w (--daemonset-namespace names the namespace in which you may list pods)", err)
	case err != nil:
		return Found{}, fmt.Errorf("find the pods of halfclose: %w", err)
	}
	selects := func(node string) bool {
		_, known := nodes[node]
		return (len(s.Nodes) == 0 || slices.Contains(s.Nodes, node)) && (s.NodeLabels == "" || known)
	}
	best := make(map[string]*corev1.Pod)
	for i := range list.Items {
		pod := &list.Items[i]
		if !isOfDaemonSet(pod) || pod.Spec.NodeName == "" || !selects(pod.Spec.NodeName) {
			continue
		}
		if other := best[pod.Spec.NodeName]; other == nil || isBetter(pod, other) {
			best[pod.Spec.NodeName] = pod
		}
	}
	var found Found
	for node, pod := range best {
		a := agentOf(pod)
		if n, ok := nodes[node]; ok {
			a.Remark = n.remark
		}
		found.Agents = append(found.Agents, a)
	}
	slices.SortFunc(found.Agents, func(a, b fleet.Agent) int { return cmp.Compare(a.Node, b.Node) })
	for name, n := range nodes {
		if best[name] == nil && n.isLinux && selects(name) {
			found.Without = append(found.Without, name)
		}
	}
	slices.Sort(found.Without)
	if nodesErr != nil {
		found.Problem = fmt.Sprintf("nodes without a pod of halfclose are not listed: %v", nodesErr)
	}
	for _, name := range s.Nodes {
		_, known := nodes[name]
		if nodesErr == nil && s.NodeLabels == "" && !known {
			return found, fmt.Errorf("node %q does not exist", name)
		}
	}
	if len(found.Agents) == 0 {
		where := "in any namespace"
		if s.DaemonSetNamespace != "" {
			where = "in namespace " + s.DaemonSetNamespace
		}
		if len(s.Nodes) > 0 || s.NodeLabels != "" {
			where += " on the selected nodes"
		}
		return found, fmt.Errorf("no DaemonSet has a pod with the label %s %s: install halfclose's chart, or check --context and --daemonset-namespace", Label, where)
	}
	return found, nil
}

// node is what is known of a node.
type node struct {
	isLinux bool
	remark  string
}

// nodes returns the nodes with the labels.
func (c *Cluster) nodes(ctx context.Context, labels string) (map[string]node, error) {
	list, err := c.core.Nodes().List(ctx, metav1.ListOptions{LabelSelector: labels, ResourceVersion: "0"}) // from the API server's cache
	if err != nil {
		return nil, err
	}
	nodes := make(map[string]node, len(list.Items))
	for i := range list.Items {
		n := &list.Items[i]
		remark := ""
		for _, condition := range n.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				remark = "the node is not ready"
			}
		}
		nodes[n.Name] = node{isLinux: cmp.Or(n.Labels[corev1.LabelOSStable], "linux") == "linux", remark: remark}
	}
	return nodes, nil
}

// isOfDaemonSet reports whether a DaemonSet controls the pod. Hooks and tests of the chart have the same label.
func isOfDaemonSet(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && owner.Kind == "DaemonSet"
}

// isBetter reports whether a is more likely to answer than b on the same node, as during a rollout.
func isBetter(a, b *corev1.Pod) bool {
	rank := func(p *corev1.Pod) int {
		switch {
		case agentOf(p).Failure != nil:
			return 0
		case p.DeletionTimestamp != nil:
			return 1
		}
		return 2
	}
	if rank(a) != rank(b) {
		return rank(a) > rank(b)
	}
	return b.CreationTimestamp.Before(&a.CreationTimestamp)
}

// agentOf returns the agent of a pod.
func agentOf(pod *corev1.Pod) fleet.Agent {
	a := fleet.Agent{Node: pod.Spec.NodeName, Namespace: pod.Namespace, Pod: pod.Name}
	fail := func(reason fleet.Reason, format string, args ...any) fleet.Agent {
		a.Failure = &fleet.Failure{Reason: reason, Message: fmt.Sprintf(format, args...)}
		return a
	}
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == Container })
	if i < 0 {
		return fail(fleet.NoContainer, "pod %s/%s has no container %s", pod.Namespace, pod.Name, Container)
	}
	a.Image = pod.Spec.Containers[i].Image
	i = slices.IndexFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == Container })
	switch {
	case i < 0:
		return fail(fleet.NotReady, "pod %s/%s is %s", pod.Namespace, pod.Name, cmp.Or(string(pod.Status.Phase), "not started"))
	case pod.Status.ContainerStatuses[i].State.Waiting != nil:
		return fail(fleet.NotReady, "pod %s/%s waits: %s", pod.Namespace, pod.Name, pod.Status.ContainerStatuses[i].State.Waiting.Reason)
	case pod.Status.ContainerStatuses[i].State.Terminated != nil:
		return fail(fleet.NotReady, "pod %s/%s has exited: %s", pod.Namespace, pod.Name, pod.Status.ContainerStatuses[i].State.Terminated.Reason)
	}
	return a
}

// PodNode returns the node of a pod, "" if it has none yet.
func (c *Cluster) PodNode(ctx context.Context, namespace, name string) (string, error) {
	pod, err := c.core.Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return pod.Spec.NodeName, nil
}

// HasNamespace reports whether a namespace exists. A user who may not know counts as one whose namespace exists.
func (c *Cluster) HasNamespace(ctx context.Context, name string) bool {
	_, err := c.core.Namespaces().Get(ctx, name, metav1.GetOptions{})
	return !apierrors.IsNotFound(err)
}

// User returns the name of the user, as the API server knows it.
func (c *Cluster) User(ctx context.Context) (string, error) {
	review, err := c.auth.SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return review.Status.UserInfo.Username, nil
}

// maxNames bounds the names for completion.
const maxNames = 500

// Pods returns the names of pods of a namespace, as namespace/name; of all with "".
func (c *Cluster) Pods(ctx context.Context, namespace string) (names []string, err error) {
	list, err := c.core.Pods(namespace).List(ctx, metav1.ListOptions{Limit: maxNames})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		if !list.Items[i].Spec.HostNetwork {
			names = append(names, list.Items[i].Namespace+"/"+list.Items[i].Name)
		}
	}
	return names, nil
}

// Namespaces returns the names of namespaces.
func (c *Cluster) Namespaces(ctx context.Context) (names []string, err error) {
	list, err := c.core.Namespaces().List(ctx, metav1.ListOptions{Limit: maxNames})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, nil
}

// Nodes returns the names of nodes.
func (c *Cluster) Nodes(ctx context.Context) (names []string, err error) {
	nodes, err := c.nodes(ctx, "")
	for name := range nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, err
}

// execURL returns the address at which the API server runs a command in a pod.
func (c *Cluster) execURL(a fleet.Agent, args []string) *url.URL {
	return c.core.RESTClient().Post().Resource("pods").Namespace(a.Namespace).Name(a.Pod).SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Container: Container, Command: append([]string{command}, args...), Stdout: true, Stderr: true,
	}, scheme.ParameterCodec).URL()
}

// failureOf returns the failure that an error of the API server means.
func failureOf(err error) error {
	text := err.Error()
	reason := fleet.Failed
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	case apierrors.IsForbidden(err):
		reason = fleet.Forbidden
	case apierrors.IsNotFound(err):
		reason, text = fleet.NotReady, "the pod is gone"
	case strings.Contains(text, "container not found"), strings.Contains(text, "is not valid for pod"):
		reason = fleet.NoContainer
	case strings.Contains(text, "error dialing backend"), strings.Contains(text, "unable to upgrade connection"):
		reason = fleet.Unreachable
	}
	return &fleet.Failure{Reason: reason, Message: text}
}
