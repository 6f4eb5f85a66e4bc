// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/prometheus"
)

// fleet is a set of nodes and the Prometheus that scrapes them.
type fleet struct {
	t          *testing.T // leaked sockets stay open until it ends
	prometheus *prometheus.Server
	leaky      []*nstest.NS // in which sockets leak during the test
	abandoned  []*nstest.NS // in which sockets leak whose peers are gone a second later
}

// cluster is the label of the targets in shippedConfig.
const cluster = "east"

// shippedConfig returns the shipped configuration with more targets, the addresses of reapers by node, and with a label for
// their cluster.
func shippedConfig(t *testing.T, targets map[string]string) string {
	t.Helper()
	config := prometheus.Edit(t, read(t, rules+"/prometheus.yaml"), map[string]string{"instance: node-1": "instance: node-1\n          cluster: " + cluster})
	for name, address := range targets {
		config += fmt.Sprintf("      - targets: [%q]\n        labels: {instance: %s, cluster: %s}\n", address, name, cluster)
	}
	return config
}

// until waits until cond holds, and leaks sockets during that time.
func (f *fleet) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); ; time.Sleep(prometheus.Interval / 4) {
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

// leak half-closes one more connection in a network namespace: the server is in CLOSE_WAIT, the client in FIN_WAIT2.
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

// kubeStateMetrics serves what kube-state-metrics exposes of a DaemonSet for six nodes, one of which is no target. It returns its
// address.
func kubeStateMetrics(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `kube_daemonset_status_desired_number_scheduled{namespace="kube-system",daemonset="halfclose"} 6`)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// startFleet starts five nodes, each with other problems, and a Prometheus.
func startFleet(t *testing.T) *fleet {
	t.Helper()
	node.Need(t)
	prometheus.Need(t, "prometheus")

	f := &fleet{t: t}
	// Sockets leak faster than --max-destroys-per-second; others are observed, or spared because of unread data. One file is
	// no record.
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
	// Some of the asked peers are alive, others are gone, and one cannot be asked because of SO_LINGER.
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

	// The kernel cannot destroy, the switch is unreadable, and sweeps need more CPU time than the budget has.
	crippled := newMachine(t, "127.0.0.1:20472")
	crippled.before = []string{"setpriv", "--bounding-set=-net_admin"}
	for i := range 3 {
		leak(t, crippled.add(t, "shop", fmt.Sprintf("mail-%d", i), `"grace": "1s"`))
	}
	if err := os.WriteFile(filepath.Join(crippled.dir, "mode"), []byte("neither this nor that"), 0o600); err != nil {
		t.Fatal(err)
	}
	crippled.flags = []string{crippled.tooSmallBudget(t)}

	// The reaper keeps restarting, and the path of the only pod's network namespace is gone, although the namespace exists.
	restarting := newMachine(t, "127.0.0.1:20473")
	deleted, err := node.AddNetns("gone")
	if err != nil {
		t.Fatal(err)
	}
	restarting.register(t, deleted, "shop", "gone", `"grace": "1s"`)
	h, err := netns.Open(deleted)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	if err := node.DeleteNetns("gone"); err != nil {
		t.Fatal(err)
	}

	for _, m := range []*machine{busy, refused, crippled} {
		m.start(t)
	}
	end := restarting.start(t)
	config := shippedConfig(t, map[string]string{ // node-1 is in the shipped configuration
		"node-2": refused.address, "node-3": crippled.address, "node-4": restarting.address,
		"node-5": "127.0.0.1:20474", // without a listener
	})
	config += fmt.Sprintf("  - job_name: kube-state-metrics\n    static_configs: [{targets: [%q], labels: {cluster: %s}}]\n", kubeStateMetrics(t), cluster)
	// No other process listens on the test's own node.
	f.prometheus = prometheus.Start(t, "127.0.0.1:9090", config, "halfclose.rules.yaml", rules+"/halfclose.rules.yaml")
	for restarts := 0; ; restarts++ {
		f.until(t, "the reaper of node-4 is scraped after each of its starts", func() bool {
			changes, err := f.prometheus.Query(`changes(process_start_time_seconds{instance="node-4"}[30m])`, false)
			return err == nil && len(changes) == 1 && changes[0].Value == float64(restarts)
		})
		if restarts == 4 {
			return f
		}
		end()
		end = restarting.start(t)
	}
}
