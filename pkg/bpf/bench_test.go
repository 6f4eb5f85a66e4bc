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

// crowd makes as many half-closed sockets in so many namespaces as the descriptors of a process suffice for, up
// to 200 in each, and has them watched. It returns how many there are.
func crowd(b *testing.B, p *bpf.Programs, namespaces int) int {
	b.Helper()
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		b.Fatal(err)
	}
	each := min(100, (int(lim.Cur)-1000)/namespaces/2)
	places := make([]place, namespaces)
	for i := range places {
		places[i] = newPlace(b)
	}
	watch(b, p, places...)
	for _, at := range places {
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

// connected makes a connection and does with both ends what use says.
func connected(b *testing.B, at place, l *net.TCPListener, use func(client, server *net.TCPConn)) {
	b.Helper()
	client := at.Dial(b, nstest.IPv4, l.Addr().(*net.TCPAddr).Port)
	server, err := l.AcceptTCP()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { server.Close() })
	use(client, server)
}

// cpuTime is what the process has taken of processors' time.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkFind is one pass over half-closed sockets: over the set, and over what processes hold.
func BenchmarkFind(b *testing.B) {
	p := load(b, bpf.Options{})
	sockets := crowd(b, p, 250)
	for _, way := range []struct {
		name string
		pass func(n *int) error
	}{
		{"entries", func(n *int) error { return p.Entries(func(*bpf.Socket) error { *n++; return nil }) }},
		{"walk", func(n *int) error { return p.Walk(func(*bpf.Holding) error { *n++; return nil }) }},
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

// BenchmarkLife is a connection from connect to close, both ends of it. What the program takes of that is told as
// bpf-ns/op, by the kernel's own count.
func BenchmarkLife(b *testing.B) {
	for _, way := range []struct {
		name         string
		load, follow bool
	}{{"no program", false, false}, {"not watched", true, false}, {"watched", true, true}} {
		b.Run(way.name, func(b *testing.B) {
			at := newPlace(b)
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
					// Both ends are half-closed for a moment. No TIME_WAIT stays, ports would run out.
					if err := errors.Join(client.CloseWrite(), server.Close(), client.SetLinger(0), client.Close()); err != nil {
						b.Fatal(err)
					}
				})
			}
			if !way.load {
				return
			}
			health, err := p.Health()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(health.RunTime.Nanoseconds())/float64(b.N), "bpf-ns/op")
			b.ReportMetric(float64(health.Runs)/float64(b.N), "bpf-runs/op")
		})
	}
}
