// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
)

// BenchmarkAnswers sends requests to a reaper on a full node.
func BenchmarkAnswers(b *testing.B) {
	n := crowdedNode(b, crowdNamespaces)
	for _, path := range []string{"/metrics", "/v1/status", "/v1/leaks", "/v1/sockets"} {
		b.Run(path, func(b *testing.B) {
			before := cpu(b)
			for b.Loop() {
				resp, err := n.unix.Get("http://reaper" + path)
				if err != nil {
					b.Fatal(err)
				}
				size, err := io.Copy(io.Discard, resp.Body)
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(resp.Status, err)
				}
				resp.Body.Close()
				b.ReportMetric(float64(size), "bytes/answer")
			}
			b.ReportMetric(float64(cpu(b)-before)/1e6/float64(b.N), "cpu-ms/answer")
		})
	}
	b.Run("sockets, read by the client", func(b *testing.B) {
		before := cpu(b)
		for b.Loop() {
			list, err := n.Sockets(b.Context(), api.SocketQuery{})
			if err != nil || len(list.Sockets) != crowdNamespaces*crowdSockets {
				b.Fatal(len(list.Sockets), err)
			}
		}
		b.ReportMetric(float64(cpu(b)-before)/1e6/float64(b.N), "cpu-ms/answer")
	})
}

// cpu returns the CPU time of this process, that of the client included: on a busy machine it varies less than wall time.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
