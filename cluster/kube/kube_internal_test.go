// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/halfclose/halfclose/cluster/fleet"
)

// apiServer serves lists of pods and nodes.
type apiServer struct {
	pods      []corev1.Pod
	nodes     []corev1.Node
	forbidden string // the path that the user may not read
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == s.forbidden {
		status := apierrors.NewForbidden(corev1.Resource("things"), "", nil).Status()
		w.WriteHeader(http.StatusForbidden)
		status.Kind, status.APIVersion = "Status", "v1"
		_ = json.NewEncoder(w).Encode(status)
		return
	}
	switch r.URL.Path {
	case "/api/v1/nodes":
		list := corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}}
		for _, n := range s.nodes {
			if selector := r.URL.Query().Get("labelSelector"); selector == "" || n.Labels["pool"] == strings.TrimPrefix(selector, "pool=") {
				list.Items = append(list.Items, n)
			}
		}
		_ = json.NewEncoder(w).Encode(list)
	case "/api/v1/pods":
		if got := r.URL.Query().Get("labelSelector"); got != Label {
			http.Error(w, "label selector "+got, http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: s.pods})
	default:
		http.NotFound(w, r)
	}
}

func (s *apiServer) connect(t *testing.T) *Cluster {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c, err := New(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func nodeNamed(name, pool string, ready bool) corev1.Node {
	status := corev1.ConditionTrue
	if !ready {
		status = corev1.ConditionUnknown
	}
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pool": pool, corev1.LabelOSStable: "linux"}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}},
	}
}

// podOn returns a running pod of the DaemonSet, changed by edit.
func podOn(node, name string, edit func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "kube-system", CreationTimestamp: metav1.NewTime(time.Unix(1000, 0)),
			OwnerReferences: []metav1.OwnerReference{{Kind: "DaemonSet", Name: "halfclose", Controller: new(true)}},
		},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "other"}, {Name: Container, Image: "registry/halfclose:1.2.3"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
			{Name: Container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		}},
	}
	if edit != nil {
		edit(&p)
	}
	return p
}

func TestThePodsOfTheDaemonSetAreFoundAndTheOthersNamed(t *testing.T) {
	windows := nodeNamed("windows", "web", true)
	windows.Labels[corev1.LabelOSStable] = "windows"
	s := &apiServer{
		nodes: []corev1.Node{
			nodeNamed("a", "web", true), nodeNamed("b", "web", false), nodeNamed("c", "db", true), nodeNamed("d", "db", true), nodeNamed("e", "web", true), windows,
		},
		pods: []corev1.Pod{
			podOn("a", "old", func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }),
			podOn("a", "new", nil),
			podOn("b", "waiting", func(p *corev1.Pod) {
				p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
			}),
			podOn("c", "renamed", func(p *corev1.Pod) { p.Spec.Containers = p.Spec.Containers[:1] }),
			podOn("d", "hook", func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "Job" }),
			podOn("", "pending", nil),
		},
	}
	agent := func(node, pod string) fleet.Agent {
		return fleet.Agent{Node: node, Namespace: "kube-system", Pod: pod, Image: "registry/halfclose:1.2.3"}
	}
	b := agent("b", "waiting")
	b.Remark, b.Failure = "the node is not ready", &fleet.Failure{Reason: fleet.NotReady, Message: "pod kube-system/waiting waits: CrashLoopBackOff"}
	c := fleet.Agent{Node: "c", Namespace: "kube-system", Pod: "renamed", Failure: &fleet.Failure{Reason: fleet.NoContainer, Message: "pod kube-system/renamed has no container reaper"}}
	for _, tt := range []struct {
		name string
		s    Selection
		want Found
	}{
		{"on all nodes", Selection{}, Found{Agents: []fleet.Agent{agent("a", "new"), b, c}, Without: []string{"d", "e"}}},
		{"on named nodes", Selection{Nodes: []string{"a", "d"}}, Found{Agents: []fleet.Agent{agent("a", "new")}, Without: []string{"d"}}},
		{"on nodes with a label", Selection{NodeLabels: "pool=web"}, Found{Agents: []fleet.Agent{agent("a", "new"), b}, Without: []string{"e"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := s.connect(t).Agents(t.Context(), tt.s)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestWhatCannotBeListedIsSaid(t *testing.T) {
	pods := []corev1.Pod{podOn("a", "new", nil)}
	for _, tt := range []struct {
		name, problem, err string
		server             apiServer
		s                  Selection
	}{
		{name: "nodes that may not be listed are a remark", problem: "nodes without a pod of halfclose are not listed: ", server: apiServer{pods: pods, forbidden: "/api/v1/nodes"}},
		{name: "but not if a label selects them", err: "list nodes for --selector: ", server: apiServer{pods: pods, forbidden: "/api/v1/nodes"}, s: Selection{NodeLabels: "pool=web"}},
		{name: "pods that may not be listed are an error with advice", err: "--daemonset-namespace", server: apiServer{forbidden: "/api/v1/pods"}},
		{name: "no pod at all is an error with advice", err: "install halfclose's chart", server: apiServer{nodes: []corev1.Node{nodeNamed("a", "", true)}}},
		{name: "an unknown node is an error", err: `node "z" does not exist`, server: apiServer{pods: pods, nodes: []corev1.Node{nodeNamed("a", "", true)}}, s: Selection{Nodes: []string{"z"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.server.connect(t).Agents(t.Context(), tt.s)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got the error %v, want %q", err, tt.err)
			}
			if tt.problem == "" && got.Problem != "" || !strings.Contains(got.Problem, tt.problem) {
				t.Errorf("got the problem %q, want %q", got.Problem, tt.problem)
			}
		})
	}
}
