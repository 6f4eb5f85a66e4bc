// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// leakIsDestroyed leaks a connection in a pod, beside a half-closed connection in use, an idle open one, and a FIN_WAIT2
// socket, for which the network has a grace of an hour. (A grace of never would keep both ends of the leak.)
func leakIsDestroyed(t *testing.T, s *site) {
	client, server := s.run(t, "leaky", nil), s.run(t, "server", nil)
	client.open(t, "quiet", server)
	busy := client.open(t, "busy", server)
	server.order(t, "stream", "busy")
	client.order(t, "shut", "busy")
	client.order(t, "drain", "busy")
	leak := client.leak(t, "leak", server)

	e := s.awaitDestroyed(leak)
	if e.State != inetdiag.CloseWait || time.Duration(e.Age) < grace || e.ContainerID != client.id {
		t.Errorf("the history has %+v", e)
	}
	if want := s.podOf(client); e.Pod != want {
		t.Errorf("the history has the pod %+v, not %+v", e.Pod, want)
	}
	switch {
	case len(e.Owners) != 1 || e.Owners[0].Command != "peer":
		t.Errorf("the history has the owners %v", e.Owners)
	case s.owner && e.Owners[0].ContainerID != client.owner:
		t.Errorf("the history has the container %q, not %q", e.Owners[0].ContainerID, client.owner)
	}
	if got := client.order(t, "send", "leak", "x"); got != "ECONNABORTED" {
		t.Errorf("a write to the leak returns %q", got)
	}
	if got := server.order(t, "recv", "leak"); got != "ECONNRESET" {
		t.Errorf("a read at the leak's peer returns %q", got)
	}
	if n := client.timeWaits(t) + server.timeWaits(t); n > 0 {
		t.Errorf("%d sockets are in TIME_WAIT", n)
	}

	// The server's end of busy is in CLOSE_WAIT, and soon older than the grace.
	at := netip.MustParseAddrPort(server.addr + ":8080")
	s.awaitSocket(at, busy, "the busy connection is older than its grace, and spared", func(v api.SocketView) bool {
		return v.Age != nil && time.Duration(*v.Age) > grace+time.Second && v.Verdict == policy.Progressing
	})
	moved := moved(t, client, "busy")
	nstest.Eventually(t, testnode.Patience, "the busy connection still moves", func() bool {
		n, err := client.Order("moved", "busy")
		return err == nil && n != strconv.Itoa(moved)
	})
	client.order(t, "send", "quiet", "hello")
	if got := server.order(t, "recv", "quiet"); got != "hello" {
		t.Errorf("the open connection carries %q", got)
	}
	if entries, err := s.Entries(); err != nil || len(entries) != 1 {
		t.Errorf("the history has %d entries, not that of the leak alone: %+v, %v", len(entries), entries, err)
	}
}

// podOf returns the pod that CNI_ARGS name.
func (s *site) podOf(p *pod) (named state.Pod) {
	for key, to := range map[string]struct {
		field *string
		value string
	}{
		"K8S_POD_NAMESPACE": {&named.Namespace, "e2e"}, "K8S_POD_NAME": {&named.Name, p.name}, "K8S_POD_UID": {&named.UID, "uid-" + p.name},
	} {
		if slices.Contains(s.args, key) {
			*to.field = to.value
		}
	}
	return named
}

func moved(t *testing.T, p *pod, name string) int {
	t.Helper()
	n, err := strconv.Atoi(p.order(t, "moved", name))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// awaitDestroyed waits until a socket is destroyed and its owner is known.
func (s *site) awaitDestroyed(local netip.AddrPort) api.Entry {
	return s.awaitOutcome(local, api.Destroyed)
}

// awaitOutcome waits until the history has an entry of a socket with this outcome and the socket's owner.
func (s *site) awaitOutcome(local netip.AddrPort, outcome string) (e api.Entry) {
	s.TB.Helper()
	s.AwaitEntries(local.String()+" is in the history with its owner: "+outcome, func([]api.Entry) (found bool) {
		var err error
		e, found, err = s.FindEntry(testnode.Conn{Local: local}, outcome)
		return found && err == nil && len(e.Owners) > 0
	})
	return e
}

// awaitSocket waits until a new dump of the reaper shows a socket that meets the condition.
func (s *site) awaitSocket(local, remote netip.AddrPort, what string, want func(v api.SocketView) bool) {
	s.TB.Helper()
	s.AwaitSocket(testnode.Conn{Local: local, Peer: remote}, api.SocketQuery{All: true}, what, want)
}

// annotationsChangeThePolicy leaks a connection in each of two pods, one of which sets a longer grace.
func annotationsChangeThePolicy(t *testing.T, s *site) {
	ask := map[string]string{policy.AnnotationCloseWaitGrace: "1h", "example.com/other": "x"}
	hasty, patient := s.run(t, "hasty", nil), s.run(t, "patient", ask)

	wantGrace, wantSource := policy.Patience(grace), "network"
	if s.annotations {
		wantGrace, wantSource = policy.Patience(time.Hour), "annotation "+policy.AnnotationCloseWaitGrace
	}
	r := s.record(t, patient)
	if got := r.Layers.Resolve(0).Policies[0]; got.CloseWaitGrace != wantGrace || got.Sources["closeWaitGrace"] != wantSource {
		t.Errorf("the record has a grace of %v from %q, want %v from %q", got.CloseWaitGrace, got.Sources["closeWaitGrace"], wantGrace, wantSource)
	}
	if len(r.Warnings) > 0 {
		t.Errorf("the record warns: %v", r.Warnings)
	}
	if diff := cmp.Diff(policy.Patience(grace), s.record(t, hasty).Layers.Resolve(0).Policies[0].CloseWaitGrace); diff != "" {
		t.Errorf("the other pod's grace (-want +got)\n%s", diff)
	}

	patientLeak := patient.leak(t, "patient", hasty)
	hastyLeak := hasty.leak(t, "hasty", patient)
	s.awaitDestroyed(hastyLeak)
	if !s.annotations {
		s.awaitDestroyed(patientLeak)
		return
	}
	at := netip.MustParseAddrPort(hasty.addr + ":8080")
	s.awaitSocket(patientLeak, at, "the patient pod's leak is older than the network's grace, and waits", func(v api.SocketView) bool {
		return v.Age != nil && time.Duration(*v.Age) > grace+time.Second && v.Deadline != nil && time.Duration(*v.Deadline) > 50*time.Minute
	})
	// Its owner can still write.
	patient.order(t, "send", "patient", "hello")
	if got := hasty.order(t, "recv", "patient"); got != "hello" {
		t.Errorf("the patient pod sends %q", got)
	}
}
