// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/prober"
)

// cpuTime is the CPU time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAsk asks about sockets of one process whose peers are alive: arm, look up, restore. All CPU time of the
// process counts, including the kernel's for the probes. A round waits for the kernel to send them, so ignore its wall
// time.
func BenchmarkAsk(b *testing.B) {
	for name, hint := range map[string]bool{"searched": false, "numbered": true} {
		b.Run("descriptors "+name, func(b *testing.B) { benchmarkAsk(b, hint) })
	}
}

func benchmarkAsk(b *testing.B, numbered bool) {
	const n = 512
	s := newScene(b)
	pairs := make([]nstest.Pair, n)
	for i := range pairs {
		pairs[i] = s.connect()
	}
	all := s.give("owner", pairs...)
	for i, j := range all {
		if err := pairs[i].Server.CloseWrite(); err != nil {
			b.Fatal(err)
		}
		j.owner.tb = b
	}
	a := ask(b)
	questions := make([]prober.Question, n)
	for i, j := range all {
		questions[i] = j.question(j.idle(inetdiag.CloseWait))
		questions[i].Owners = []prober.Owner{{PID: j.owner.PID, FD: j.fd, HasFD: numbered}}
	}
	var used time.Duration
	rounds := 0
	for b.Loop() {
		for _, j := range all {
			j.idle(inetdiag.CloseWait)
		}
		begin := cpuTime(b)
		a.Ask(questions)
		rounds++
		for _, got := range a.await(rounds * n)[(rounds-1)*n:] {
			if got.Result != prober.Alive {
				b.Fatalf("the answer is %v %v (%v)", got.Result, got.Obstacle, got.Err)
			}
		}
		used += cpuTime(b) - begin
	}
	b.ReportMetric(float64(used.Microseconds())/float64(rounds*n), "cpu-us/socket")
	b.ReportMetric(float64(a.Stats().CPU.Microseconds())/float64(rounds*n), "jobs-cpu-us/socket")
}
