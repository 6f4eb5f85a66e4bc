// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package kind_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// peers starts a pod with two half-closed connections under one policy: the server of one closes it, and that of the other
// keeps it. No grace expires here.
func (s *story) peers(t *testing.T) {
	server := startPods(t, pod{
		name: "farewell", node: controlPlane,
		// The kernel forgets a closed connection after two seconds instead of a minute.
		sysctls: []object{{"name": "net.ipv4.tcp_fin_timeout", "value": "2"}},
		args:    []string{"serve", ":7001", "close", "--", "serve", ":7002", "hold"},
	})[0]
	startPods(t, pod{
		name: "pool", node: worker,
		annotations: map[string]string{"halfclose.cni/probe-after": "4s", "halfclose.cni/grace": "1h"},
		args:        []string{"connect", server + ":7001", "leak", "--", "connect", server + ":7002", "shut"},
	})
	registered(t, worker, "pool")
	nstest.Eventually(t, slow, "the connection whose peer closed for good is gone", func() bool {
		return slices.Equal(history(t, "pool"), []string{api.PeerGone})
	})
	nstest.Eventually(t, slow, "the other peer has answered", func() bool {
		all := sockets(t, worker, "pool")
		return len(all) == 1 && all[0].Verdict == policy.PeerAlive && all[0].PeerAlive != nil
	})
	if all := sockets(t, worker, "pool"); len(all) != 1 || all[0].State != inetdiag.FinWait2 || all[0].Peer != server+":7002" {
		t.Errorf("the pool has %+v, and not its connection to a peer that is there", all)
	}
	if a, _ := attachment(t, worker, "pool"); a.Destroyed != 0 {
		t.Errorf("%d sockets of the pool were destroyed", a.Destroyed)
	}
	if log := podLog(t, "pool"); containsLine(log, ":7002 after") {
		t.Errorf("the connection to a peer that is there has ended:\n%s", log)
	}
	nstest.Eventually(t, slow, "the metrics count the peer that is gone", func() bool {
		metrics := onNode(t, worker, `printf 'GET /metrics HTTP/1.0\r\n\r\n' | socat - UNIX-CONNECT:/run/halfclose/reaper.sock`)
		return containsLine(metrics, `halfclose_peer_gone_total{how="reset",namespace="default",state="CLOSE_WAIT"} 1`)
	})
	s.mayAsk(t)
	deletePods(t, "pool", "farewell")
}

// mayAsk checks that on each node the reaper may ask peers, in a container that is confined by a seccomp profile.
func (s *story) mayAsk(t *testing.T) {
	t.Helper()
	for _, node := range nodes() {
		st := status(t, node)
		if len(st.Refusals) != 0 || len(st.Peers.Refused) != 0 {
			t.Errorf("the reaper on %s is refused %+v, and of peers says %+v", node, st.Refusals, st.Peers)
		}
		seccomp := strings.Fields(onNode(t, node, fmt.Sprintf("grep ^Seccomp: /proc/%d/status", st.Holder.PID)))
		if !slices.Equal(seccomp, []string{"Seccomp:", "2"}) { // SECCOMP_MODE_FILTER
			t.Errorf("no seccomp profile confines the reaper on %s: %s", node, seccomp)
		}
	}
}
