// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/reaper"
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

// BenchmarkQuestions asks what an operator asks first, on a full node with two weeks of history: status, leaks and
// "history --tail 50". With BENCH_SHORT the node and its history are small.
func BenchmarkQuestions(b *testing.B) {
	namespaces, size := crowdNamespaces, int64(history.MaxBytes)
	if os.Getenv("BENCH_SHORT") != "" {
		namespaces, size = 10, 1<<20
	}
	dir := filepath.Join(b.TempDir(), "history")
	writeTwoWeeks(b, dir, size)
	n := crowdedNode(b, namespaces, func(c *reaper.Config) { c.HistoryDir = dir })
	for name, path := range map[string]string{"status": "/v1/status", "leaks": "/v1/leaks", "history": "/v1/history?tail=50"} {
		b.Run(name, func(b *testing.B) {
			before := cpu(b)
			for b.Loop() {
				resp, err := n.unix.Get("http://reaper" + path)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(resp.Status, err)
				}
				resp.Body.Close()
			}
			b.ReportMetric(float64(cpu(b)-before)/1e6/float64(b.N), "cpu-ms/answer")
		})
	}
}

// writeTwoWeeks writes a history of that size.
func writeTwoWeeks(b *testing.B, dir string, size int64) {
	b.Helper()
	w := history.NewWriter(history.WriterConfig{Dir: dir, Run: history.RunAt(time.Now()), Clock: monotime.Fake{}})
	ctx, cancel := context.WithCancel(context.Background())
	go w.Run(ctx)
	e := apitest.Entries()[0]
	at := time.Now().Add(-history.MaxAge)
	const entrySize = 560
	entries := int(size / entrySize)
	for i := range entries {
		for w.Stats().Waiting > 3000 {
			time.Sleep(time.Millisecond)
		}
		at = at.Add(history.MaxAge / time.Duration(entries))
		e.Seq, e.Time = uint64(i+1), at
		e.Pod.Name = fmt.Sprint("web-", i%crowdNamespaces)
		w.Append(history.KindEntry, at, e)
	}
	cancel()
	<-w.Done()
	b.Logf("%d MiB of history", w.Stats().Bytes>>20)
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
