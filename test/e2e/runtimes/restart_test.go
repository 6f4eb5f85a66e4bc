// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// reaperRestarts kills the reaper while it only observes a leak. The next pod starts another one, which keeps
// to what the switch says and knows the leak's age.
func reaperRestarts(t *testing.T, s *site) {
	s.halfclose(t, "mode", "observe")
	defer s.halfclose(t, "mode", "destroy")
	client, server := s.run(t, "watched", nil), s.run(t, "far", nil)
	leak := client.leak(t, "leak", server)
	s.awaitOutcome(leak, api.WouldDestroy)

	began := time.Now()
	old := s.AwaitStatus().Holder.PID
	if err := unix.Kill(old, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testnode.AwaitExit(t, old)
	s.run(t, "starts", nil) // whose ADD starts a reaper
	if st := s.AwaitStatus(); st.Holder.PID == old || st.Mode.Effective != policy.Observe {
		t.Errorf("the reaper is %d, after %d, and its mode %v", st.Holder.PID, old, st.Mode.Effective)
	}
	at := netip.MustParseAddrPort(server.addr + ":8080")
	s.awaitSocket(leak, at, "the reaper knows the leak as of an age that it could not know by itself", func(v api.SocketView) bool {
		return v.Age != nil && time.Duration(*v.Age) > grace+time.Since(began)-time.Second
	})
	if said := client.tell(t, "send", "leak", "hello"); said != "ok" {
		t.Errorf("while it is only observed, the leak's owner is told %q", said)
	}
	if said := server.tell(t, "recv", "leak"); said != "hello" { // unread, it would spare the other end
		t.Errorf("the leak's peer reads %q", said)
	}
	s.halfclose(t, "mode", "destroy")
	s.awaitDestroyed(leak)
}

// runtimeRestarts kills the runtime's daemon under its pods. What is leaked meanwhile is destroyed meanwhile, and
// the next daemon can still remove the pods.
func runtimeRestarts(t *testing.T, s *site) {
	d, ok := s.runtime.(daemon)
	if !ok {
		t.Skipf("%s has no daemon that pods outlive", s.name)
	}
	client, server := s.run(t, "orphan", nil), s.run(t, "other", nil)
	client.open(t, "line", server)
	leak := client.leak(t, "leak", server)
	reaper := s.AwaitStatus().Holder.PID
	d.crash(t)
	s.awaitDestroyed(leak)
	d.restart(t)

	if now := s.AwaitStatus().Holder.PID; now != reaper {
		t.Errorf("the reaper is %d now, after %d", now, reaper)
	}
	second := client.leak(t, "second", server)
	s.awaitDestroyed(second)
	client.tell(t, "send", "line", "hello")
	if said := server.tell(t, "recv", "line"); said != "hello" {
		t.Errorf("on the open connection comes %q", said)
	}
	s.remove(t, client)
	if s.recorded(client) {
		t.Error("after the removal by the next daemon the record is still there")
	}
	if !s.recorded(server) {
		t.Error("the record of the other pod is gone too")
	}
}
