// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/state"
)

// BenchmarkAdd compares an ADD of halfclose with one of a plugin that only prints its prevResult. Each is a process, from its
// start to its exit; the two alternate. The state directory is on a tmpfs if there is one, as /run is.
//
// ns/op is the sum of both; noop-p50-us and add-p50-us are the medians, and ratio is their ratio.
func BenchmarkAdd(b *testing.B) {
	for _, reaper := range []string{"external", "auto"} {
		b.Run("reaper="+reaper, func(b *testing.B) { benchmarkAdd(b, reaper) })
	}
}

func benchmarkAdd(b *testing.B, reaper string) {
	dir := tmpfs(b)
	env := map[string]string{
		"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": nstest.New(b).Path(),
		"CNI_PATH": "/opt/cni/bin", "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u-1",
		state.EnvDir: dir,
	}
	stdin := `{"cniVersion": "1.0.0", "name": "blue", "type": "halfclose", "grace": "5m", "reaper": "` + reaper + `",
		"capabilities": {"io.kubernetes.cri.pod-annotations": true},
		"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"halfclose.cni/grace": "1m", "example.org/team": "blue"}},
		"prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/blue"}],
			"ips": [{"interface": 0, "address": "10.1.0.5/24", "gateway": "10.1.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}}`
	if reaper == "auto" { // one already runs, as at each ADD except the first
		l, err := net.Listen("unix", state.New(dir).SocketPath())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
	}
	noop := process{binary(b, "noop"), env, stdin}
	halfclose := process{binary(b, "halfclose"), env, stdin}
	var noops, adds []time.Duration
	for b.Loop() {
		noops = append(noops, timed(b, noop))
		adds = append(adds, timed(b, halfclose))
	}
	b.ReportMetric(micros(median(noops)), "noop-p50-us")
	b.ReportMetric(micros(median(adds)), "add-p50-us")
	b.ReportMetric(float64(median(adds))/float64(median(noops)), "ratio")
}

func timed(b *testing.B, p process) time.Duration {
	start := time.Now()
	e, err := p.run()
	took := time.Since(start)
	if err != nil || e.code != 0 || e.stderr != "" {
		b.Fatalf("%v, %+v", err, e)
	}
	return took
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// tmpfs returns a directory in memory, or on disk without a tmpfs.
func tmpfs(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "halfclose-bench-")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
