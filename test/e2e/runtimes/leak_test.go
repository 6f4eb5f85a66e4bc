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

// leakIsDestroyed has a leak destroyed in a pod, beside a half-closed connection that is at work, an idle one
// that is open, and FIN_WAIT2, which the network gives an hour. (Had it none, both ends of the leak would be spared.)
func leakIsDestroyed(t *testing.T, s *site) {
	client, server := s.run(t, "leaky", nil), s.run(t, "server", nil)
	client.open(t, "quiet", server)
	busy := client.open(t, "busy", server)
	server.tell(t, "stream", "busy")
	client.tell(t, "shut", "busy")
	client.tell(t, "drain", "busy")
	leak := client.leak(t, "leak", server)

	e := s.awaitDestroyed(leak)
	if e.State != inetdiag.CloseWait || time.Duration(e.Age) < grace || e.ContainerID != client.id {
		t.Errorf("the history says %+v", e)
	}
	if want := s.podOf(client); e.Pod != want {
		t.Errorf("the history says that it was of the pod %+v, not %+v", e.Pod, want)
	}
	switch {
	case len(e.Owners) != 1 || e.Owners[0].Command != "peer":
		t.Errorf("the history says that %v held it", e.Owners)
	case s.owner && e.Owners[0].ContainerID != client.owner:
		t.Errorf("the history says that the container %q held it, not %q", e.Owners[0].ContainerID, client.owner)
	}
	if said := client.tell(t, "send", "leak", "x"); said != "ECONNABORTED" {
		t.Errorf("the leak's owner writes and is told %q", said)
	}
	if said := server.tell(t, "recv", "leak"); said != "ECONNRESET" {
		t.Errorf("the leak's peer reads and is told %q", said)
	}
	if n := client.timeWaits(t) + server.timeWaits(t); n > 0 {
		t.Errorf("%d sockets are in TIME_WAIT", n)
	}

	// The server's end of busy is in CLOSE_WAIT, and older than the grace before long.
	at := netip.MustParseAddrPort(server.addr + ":8080")
	s.awaitSocket(at, busy, "the busy connection is older than its grace, and spared", func(v api.SocketView) bool {
		return v.Age != nil && time.Duration(*v.Age) > grace+time.Second && v.Verdict == policy.Progressing
	})
	moved := moved(t, client, "busy")
	nstest.Eventually(t, testnode.Patience, "the busy connection still moves", func() bool {
		n, err := client.Order("moved", "busy")
		return err == nil && n != strconv.Itoa(moved)
	})
	client.tell(t, "send", "quiet", "hello")
	if said := server.tell(t, "recv", "quiet"); said != "hello" {
		t.Errorf("on the open connection comes %q", said)
	}
	if entries, err := s.Entries(); err != nil || len(entries) != 1 {
		t.Errorf("the history has %d entries, not that of the leak alone: %+v, %v", len(entries), entries, err)
	}
}

// podOf is what CNI_ARGS say of a pod.
func (s *site) podOf(p *pod) (told state.Pod) {
	for key, to := range map[string]struct {
		field *string
		value string
	}{
		"K8S_POD_NAMESPACE": {&told.Namespace, "e2e"}, "K8S_POD_NAME": {&told.Name, p.name}, "K8S_POD_UID": {&told.UID, "uid-" + p.name},
	} {
		if slices.Contains(s.args, key) {
			*to.field = to.value
		}
	}
	return told
}

func moved(t *testing.T, p *pod, name string) int {
	t.Helper()
	n, err := strconv.Atoi(p.tell(t, "moved", name))
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

// awaitSocket waits until a dump that the reaper makes now shows a socket as wanted.
func (s *site) awaitSocket(local, remote netip.AddrPort, what string, want func(v api.SocketView) bool) {
	s.TB.Helper()
	s.AwaitSocket(testnode.Conn{Local: local, Peer: remote}, api.SocketQuery{All: true}, what, want)
}

// annotationsChangeThePolicy has two pods leak alike, one of which asks for more patience.
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
	// Its owner still writes, and is heard.
	patient.tell(t, "send", "patient", "hello")
	if said := hasty.tell(t, "recv", "patient"); said != "hello" {
		t.Errorf("from the patient pod comes %q", said)
	}
}
