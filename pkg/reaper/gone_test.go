// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/state"
)

// crowded creates a namespace with many half-closed sockets, linked to another namespace, and a function that releases
// every reference to it.
func crowded(t *testing.T, far *nstest.NS, pairs int) (ns *nstest.NS, end func()) {
	t.Helper()
	ns = newNS(t)
	nstest.Link(t, ns, far)
	var conns []*net.TCPConn
	for range pairs {
		p := shut(t, ns.Connect(t, nstest.IPv4))
		conns = append(conns, p.Client, p.Server)
	}
	return ns, func() {
		for _, c := range conns {
			_ = c.SetLinger(0) // otherwise the kernel's unsent data would pin the namespace
			_ = c.Close()
		}
		ns.Close()
	}
}

// TestFinderKeepsNoDeletedNamespaceAlive deletes a namespace while the reaper looks at it, and a similar one that is
// not registered.
func TestFinderKeepsNoDeletedNamespaceAlive(t *testing.T) {
	const pairs = 150
	eachFinder(t, func(t *testing.T, finder string) {
		for name, del := range map[string]bool{"after its DEL": true, "without any DEL": false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				far, farOfOther := newNS(t), newNS(t)
				ns, end := crowded(t, far, pairs)
				_, endOther := crowded(t, farOfOther, pairs)
				n := newNode(t, finder, impatient)
				r := n.register(ns, timing(inetdiag.CloseWait, time.Hour))
				nstest.Eventually(t, patience, "all are known", func() bool {
					return n.status().Candidates[inetdiag.CloseWait.String()] == pairs
				})
				n.awaitSweeps(5)

				if del {
					if err := n.store.Delete(r.Attachment); err != nil {
						t.Fatal(err)
					}
				}
				end()
				endOther()
				var gone, otherGone time.Time
				nstest.Eventually(t, patience, "the links of both are gone", func() bool {
					if gone.IsZero() && !far.HasLink(t, nstest.LinkName) {
						gone = time.Now()
					}
					if otherGone.IsZero() && !farOfOther.HasLink(t, nstest.LinkName) {
						otherGone = time.Now()
					}
					return !gone.IsZero() && !otherGone.IsZero()
				})
				if late := gone.Sub(otherGone); late > time.Second {
					t.Errorf("it is gone %v after the one that was not swept", late)
				}
				nstest.Eventually(t, patience, "nothing is known of its sockets", func() bool {
					return n.status().Candidates[inetdiag.CloseWait.String()] == 0
				})
			})
		}
	})
}

// resources counts the descriptors, mounts and other resources of this process.
func resources(t *testing.T) (descriptors, goroutines int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries), runtime.NumGoroutine()
}

// TestThousandRegistrationsLeaveNothingBehind does not run in parallel: the resources of other tests would count too.
func TestThousandRegistrationsLeaveNothingBehind(t *testing.T) {
	const rounds, namespaces = 1000, 4
	for _, finder := range finders {
		t.Run(finder, func(t *testing.T) {
			far := make([]*nstest.NS, namespaces)
			all := make([]*nstest.NS, namespaces)
			for i := range all {
				far[i], all[i] = newNS(t), newNS(t)
				nstest.Link(t, all[i], far[i])
			}
			if finder == "bpf" { // the shared programs stay loaded
				if _, err := loadShare(); err != nil {
					t.Fatal(err)
				}
			}
			descriptors, goroutines := resources(t)
			n := newNode(t, finder, impatient)
			records := make([]state.Record, namespaces)
			for i, ns := range all {
				records[i] = n.record(ns, timing(inetdiag.CloseWait, 100*time.Millisecond))
			}
			round := func(i int) {
				r := records[i%namespaces]
				if err := n.store.Put(r); err != nil {
					t.Fatal(err)
				}
				if i%100 == 0 { // let the reaper do its work in some of them
					p := shut(t, all[i%namespaces].Connect(t, nstest.IPv4))
					n.awaitDestroyed(p.Server)
					closeAll(t, p.Client, p.Server)
				}
				if err := n.store.Delete(r.Attachment); err != nil {
					t.Fatal(err)
				}
			}
			stable := func() (int, int) {
				nstest.Eventually(t, patience, "no namespace is known", func() bool { return n.status().Namespaces == 0 })
				return resources(t)
			}
			round(0) // resources that are created once
			descriptorsAtWork, goroutinesAtWork := stable()
			for i := range rounds {
				round(i)
			}
			nstest.Eventually(t, patience, "the running reaper holds no more than after the first round", func() bool {
				d, g := stable()
				return d <= descriptorsAtWork && g <= goroutinesAtWork
			})
			if entries, err := os.ReadDir(n.store.AttachmentsDir()); err != nil || len(entries) != 0 {
				t.Errorf("files left: %v, %v", entries, err)
			}
			if s := n.status(); len(s.Attachments)+len(s.Problems) != 0 || s.Candidates[inetdiag.CloseWait.String()] != 0 {
				t.Errorf("the status still knows %+v", s)
			}
			for i, ns := range all {
				ns.Close()
				nstest.Eventually(t, patience, "the namespace is gone", func() bool { return !far[i].HasLink(t, nstest.LinkName) })
			}
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			nstest.Eventually(t, patience, "the ended reaper holds nothing", func() bool {
				d, g := resources(t)
				return d <= descriptors-namespaces && g <= goroutines
			})
		})
	}
}
