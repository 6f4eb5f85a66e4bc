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

// reaperRestarts kills the reaper while it only observes a leak. The next pod starts another one, which obeys
// the switch and knows the leak's age.
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
	s.awaitSocket(leak, at, "the reaper knows an age of the leak that only the saved candidates have", func(v api.SocketView) bool {
		return v.Age != nil && time.Duration(*v.Age) > grace+time.Since(began)-time.Second
	})
	if got := client.order(t, "send", "leak", "hello"); got != "ok" {
		t.Errorf("a write to the observed leak returns %q", got)
	}
	if got := server.order(t, "recv", "leak"); got != "hello" { // unread, it would spare the other end
		t.Errorf("the leak's peer reads %q", got)
	}
	s.halfclose(t, "mode", "destroy")
	s.awaitDestroyed(leak)
}

// runtimeRestarts kills the runtime's daemon under its pods. A leak is destroyed while no daemon runs, and the next daemon
// can remove the pods.
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
	client.order(t, "send", "line", "hello")
	if got := server.order(t, "recv", "line"); got != "hello" {
		t.Errorf("on the open connection comes %q", got)
	}
	s.remove(t, client)
	if s.recorded(client) {
		t.Error("after the removal by the next daemon the record is still there")
	}
	if !s.recorded(server) {
		t.Error("the record of the other pod is gone too")
	}
}
