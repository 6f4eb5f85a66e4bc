// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/test/node"
)

// fleet is what Prometheus scrapes.
type fleet struct {
	t          *testing.T // what leaks stays open until it ends
	prometheus *server
	leaky      []*nstest.NS // where sockets leak as long as the test goes on
	abandoned  []*nstest.NS // where they leak, and their peers are gone a second later
}

// until waits until cond holds, and sees to it that meanwhile sockets go on leaking.
func (f *fleet) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); ; time.Sleep(scrapes / 4) {
		for _, ns := range f.leaky {
			leak(f.t, ns)
		}
		for _, ns := range f.abandoned {
			abandon(f.t, ns)
		}
		if cond() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", soon, what)
		}
	}
}

// leak leaves one more connection half-closed in a namespace: its server in CLOSE_WAIT, its client in
// FIN_WAIT2.
func leak(t *testing.T, ns *nstest.NS) {
	t.Helper()
	if err := ns.Connect(t, nstest.IPv4).Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// abandon leaves one more server in CLOSE_WAIT, whose client has closed for good.
func abandon(t *testing.T, ns *nstest.NS) {
	t.Helper()
	if err := ns.Connect(t, nstest.IPv4).Client.Close(); err != nil {
		t.Fatal(err)
	}
}

// startFleet starts five nodes and a Prometheus. On each something else is wrong.
func startFleet(t *testing.T) *fleet {
	t.Helper()
	node.Need(t)
	need(t, "prometheus")

	f := &fleet{t: t}
	// Sockets leak faster than the budget lets them be destroyed; others are observed, or spared for what is
	// unread. A file is no record.
	busy := newMachine(t, "127.0.0.1:20470", "--max-destroys-per-second=1")
	f.leaky = append(f.leaky,
		busy.add(t, "shop", "cart", `"grace": "1s"`),
		busy.add(t, "web", "search", `"grace": "1s", "mode": "observe"`))
	unread := busy.add(t, "bank", "ledger", `"closeWaitGrace": "1s", "finWait2Grace": "1h"`).Connect(t, nstest.IPv4)
	if _, err := unread.Client.Write([]byte("unread")); err != nil {
		t.Fatal(err)
	}
	if err := unread.Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// Peers are asked: of some that are there, of others that are gone, and of one whose owner rules it out.
	asked := busy.add(t, "shop", "asked", `"probeAfter": "1s", "grace": "1h"`)
	lingers := asked.Connect(t, nstest.IPv4)
	if err := errors.Join(lingers.Server.SetLinger(1), lingers.Client.CloseWrite()); err != nil {
		t.Fatal(err)
	}
	gone := busy.add(t, "shop", "abandoned", `"probeAfter": "1s", "grace": "1h"`)
	var err error
	gone.Do(t, func() { err = os.WriteFile("/proc/sys/net/ipv4/tcp_fin_timeout", []byte("1"), 0o644) })
	if err != nil {
		t.Fatal(err)
	}
	f.leaky, f.abandoned = append(f.leaky, asked), append(f.abandoned, gone)
	if err := os.WriteFile(filepath.Join(busy.dir, "attachments", "not-a-record"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}

	// The kernel refuses every destroy.
	refused := refused(t)
	f.leaky = append(f.leaky, refused.add(t, "shop", "orders", `"grace": "1s"`))

	// Nothing can be destroyed, the switch cannot be read, and sweeping has less CPU time than it takes.
	crippled := newMachine(t, "127.0.0.1:20472")
	crippled.before = []string{"setpriv", "--bounding-set=-net_admin"}
	for i := range 3 {
		leak(t, crippled.add(t, "shop", fmt.Sprintf("mail-%d", i), `"grace": "1s"`))
	}
	if err := os.WriteFile(filepath.Join(crippled.dir, "mode"), []byte("neither this nor that"), 0o600); err != nil {
		t.Fatal(err)
	}
	crippled.flags = []string{crippled.tooSmallBudget(t)}

	// The reaper keeps restarting, and the only pod has gone without a DEL.
	restarting := newMachine(t, "127.0.0.1:20473")
	deleted, err := node.AddNetns("gone")
	if err != nil {
		t.Fatal(err)
	}
	restarting.register(t, deleted, "shop", "gone", `"grace": "1s"`)
	if err := node.DeleteNetns("gone"); err != nil {
		t.Fatal(err)
	}

	for _, m := range []*machine{busy, refused, crippled} {
		m.start(t)
	}
	end := restarting.start(t)
	f.prometheus = startPrometheus(t, map[string]string{ // node-1 is in the shipped configuration
		"node-2": refused.address, "node-3": crippled.address, "node-4": restarting.address,
		"node-5": "127.0.0.1:20474", // where nobody listens
	})
	for restarts := 0; ; restarts++ {
		f.until(t, "the reaper of node-4 is scraped after each of its starts", func() bool {
			changes, err := f.prometheus.query(`changes(process_start_time_seconds{instance="node-4"}[30m])`, false)
			return err == nil && len(changes) == 1 && changes[0].value == float64(restarts)
		})
		if restarts == 4 {
			return f
		}
		end()
		end = restarting.start(t)
	}
}
