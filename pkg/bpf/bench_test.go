// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/bpf"
)

// createHalfClosed creates up to 200 half-closed sockets in each of as many watched network namespaces, as far as the
// process's descriptors suffice. It returns their number.
func createHalfClosed(b *testing.B, p *bpf.Programs, namespaces int) int {
	b.Helper()
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		b.Fatal(err)
	}
	each := min(100, (int(lim.Cur)-1000)/namespaces/2)
	list := make([]testNetns, namespaces)
	for i := range list {
		list[i] = newNetns(b)
	}
	watch(b, p, list...)
	for _, at := range list {
		l := at.Listen(b, nstest.IPv4)
		for range each {
			connected(b, at, l, func(client, _ *net.TCPConn) {
				if err := client.CloseWrite(); err != nil {
					b.Fatal(err)
				}
			})
		}
		l.Close()
	}
	nstest.Eventually(b, patience, "all half-closed", func() bool { return len(walk(b, p)) == 2*each*namespaces })
	return 2 * each * namespaces
}

// connected creates a connection and calls use with both ends.
func connected(b *testing.B, at testNetns, l *net.TCPListener, use func(client, server *net.TCPConn)) {
	b.Helper()
	client := at.Dial(b, nstest.IPv4, l.Addr().(*net.TCPAddr).Port)
	server, err := l.AcceptTCP()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { server.Close() })
	use(client, server)
}

// cpuTime returns the CPU time that the process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkFind reads all half-closed sockets once: from the set, and by a walk.
func BenchmarkFind(b *testing.B) {
	p := load(b, bpf.Options{})
	sockets := createHalfClosed(b, p, 250)
	for _, way := range []struct {
		name string
		pass func(n *int) error
	}{
		{"entries", func(n *int) error { return p.Entries(func(*bpf.Socket) error { *n++; return nil }) }},
		{"walk", func(n *int) error { return p.Walk(func(*bpf.OwnedSocket) error { *n++; return nil }) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			from := cpuTime(b)
			for b.Loop() {
				n := 0
				if err := way.pass(&n); err != nil {
					b.Fatal(err)
				}
				if n != sockets {
					b.Fatalf("%d sockets, want %d", n, sockets)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-from)/float64(b.N)/float64(sockets), "cpu-ns/socket")
		})
	}
}

// BenchmarkLife opens and closes a connection. bpf-ns/op is the program's share, as the kernel counts it.
func BenchmarkLife(b *testing.B) {
	for _, way := range []struct {
		name         string
		load, follow bool
	}{{"no program", false, false}, {"not watched", true, false}, {"watched", true, true}} {
		b.Run(way.name, func(b *testing.B) {
			at := newNetns(b)
			var p *bpf.Programs
			if way.load {
				p = load(b, bpf.Options{})
				stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
				if err != nil {
					b.Fatal(err)
				}
				defer stats.Close()
			}
			if way.follow {
				watch(b, p, at)
			}
			l := at.Listen(b, nstest.IPv4)
			for b.Loop() {
				connected(b, at, l, func(client, server *net.TCPConn) {
					// Both ends are half-closed for a moment. The reset leaves no TIME_WAIT, which would use up the ports.
					if err := errors.Join(client.CloseWrite(), server.Close(), client.SetLinger(0), client.Close()); err != nil {
						b.Fatal(err)
					}
				})
			}
			if !way.load {
				return
			}
			stats, err := bpf.Stats(p)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(stats.Runtime.Nanoseconds())/float64(b.N), "bpf-ns/op")
			b.ReportMetric(float64(stats.RunCount)/float64(b.N), "bpf-runs/op")
		})
	}
}
