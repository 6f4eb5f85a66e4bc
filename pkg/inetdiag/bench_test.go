// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// halfClosedPairs creates n connections with one end in CLOSE_WAIT and the other in FIN_WAIT2.
func halfClosedPairs(tb testing.TB, ns *nstest.NS, n int) {
	tb.Helper()
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		tb.Fatal(err)
	}
	if lim.Cur < uint64(2*n+100) {
		tb.Skipf("%d connections need %d file descriptors, the limit is %d (ulimit -n)", n, 2*n+100, lim.Cur)
	}
	for i := range n {
		p := ns.Connect(tb, nstest.Networks[i%len(nstest.Networks)])
		if err := p.Client.CloseWrite(); err != nil {
			tb.Fatal(err)
		}
	}
	c := open(tb, ns)
	nstest.Eventually(tb, patience, "all half-closed", func() bool {
		return len(idsIn(tb, c, inetdiag.HalfClosed)) == 2*n
	})
}

func idsIn(tb testing.TB, c *inetdiag.Conn, states inetdiag.States) []inetdiag.ID {
	tb.Helper()
	var ids []inetdiag.ID
	if err := c.Dump(inetdiag.Filter{States: states}, func(s *inetdiag.Socket) error {
		ids = append(ids, s.ID)
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	return ids
}

func BenchmarkOpenClose(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		c, err := inetdiag.Open()
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// BenchmarkDump compares one walk (legacy) with two (by family) over the hash table of connections.
func BenchmarkDump(b *testing.B) {
	for _, pairs := range []int{0, 200, 2000} {
		ns := nstest.New(b)
		halfClosedPairs(b, ns, pairs)
		for _, way := range []struct {
			name   string
			filter inetdiag.Filter
		}{
			{"legacy", inetdiag.Filter{States: inetdiag.HalfClosed}},
			{"by-family", inetdiag.Filter{States: inetdiag.HalfClosed, NoLegacy: true}},
			{"legacy-info", inetdiag.Filter{States: inetdiag.HalfClosed, Info: true}},
		} {
			b.Run(fmt.Sprintf("sockets=%d/%s", 2*pairs, way.name), func(b *testing.B) {
				c := open(b, ns)
				b.ReportAllocs()
				for b.Loop() {
					n := 0
					if err := c.Dump(way.filter, func(*inetdiag.Socket) error { n++; return nil }); err != nil {
						b.Fatal(err)
					}
					if n != 2*pairs {
						b.Fatalf("%d sockets, want %d", n, 2*pairs)
					}
				}
			})
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	ns := nstest.New(b)
	halfClosedPairs(b, ns, 200)
	c := open(b, ns)
	ids := idsIn(b, c, inetdiag.HalfClosed)
	b.Run("single", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if _, err := c.Lookup(ids[i%len(ids)]); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	b.Run("pipelined", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() { // one operation is one lookup of a pipeline of 16
			if n++; n%16 != 0 {
				continue
			}
			at := n % (len(ids) - 16)
			if err := c.LookupAll(ids[at:at+16], func(_ int, _ *inetdiag.Socket, err error) {
				if err != nil {
					b.Error(err)
				}
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDestroy does not measure the creation of its sockets.
func BenchmarkDestroy(b *testing.B) {
	for _, size := range []int{1, 16} {
		b.Run(fmt.Sprintf("pipeline=%d", size), func(b *testing.B) {
			benchDestroy(b, size, false)
		})
	}
	b.Run("look-and-destroy", func(b *testing.B) { benchDestroy(b, 16, true) })
}

func benchDestroy(b *testing.B, size int, look bool) {
	const pairs = 2000
	b.ReportAllocs()
	b.StopTimer()
	for done := 0; done < b.N; {
		ns := nstest.New(b)
		halfClosedPairs(b, ns, pairs)
		c := open(b, ns)
		// One end of each: the reset closes the other.
		ids := idsIn(b, c, 1<<inetdiag.CloseWait)
		ids = ids[:min(len(ids), b.N-done)]
		done += len(ids)
		b.StartTimer()
		for len(ids) > 0 {
			n := min(size, len(ids))
			if look {
				if err := c.LookupAll(ids[:n], func(int, *inetdiag.Socket, error) {}); err != nil {
					b.Fatal(err)
				}
			}
			if err := c.DestroyAll(ids[:n], nil, func(_ int, err error) {
				if err != nil {
					b.Error(err)
				}
			}); err != nil {
				b.Fatal(err)
			}
			ids = ids[n:]
		}
		b.StopTimer()
	}
}
