// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/netns"
)

// TestALaterNamespaceWithTheInodeNumberOfADeletedOneIsNotJudged deletes a registered network namespace without DEL, and mounts
// another one with its inode number at the same path. Before Linux 5.14 only the time of the mount distinguishes them.
func TestALaterNamespaceWithTheInodeNumberOfADeletedOneIsNotJudged(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		r := newReaper(t, finder)
		point, first := nstest.NewMountPoint(t), nstest.New(t)
		point.Mount(t, first)
		rec := r.record(first, "pod", `{"grace": "1s", "probeAfter": "never"}`)
		rec.Netns.Path = point.Path
		r.put(rec)
		r.awaitRegistered(rec)
		p := first.Connect(t, nstest.IPv4)
		if err := p.Server.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		r.awaitOneDestroyed(p)

		for _, c := range []interface{ Close() error }{p.Client, p.Server} {
			_ = c.Close() // one is destroyed
		}
		point.Unmount(t)
		first.Close()
		later := reuseInode(t, rec.Netns.Inode)
		point.Mount(t, later)
		q := later.Connect(t, nstest.IPv4)
		if err := q.Server.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		awaitState(t, closeWait, q.Client)

		// A socket that is registered now, and leaks now, is destroyed: by then the other one's grace has expired too.
		witness := nstest.New(t)
		r.register(witness, "witness", `{"grace": "3s", "probeAfter": "never"}`)
		w := witness.Connect(t, nstest.IPv4)
		if err := w.Server.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		r.awaitOneDestroyed(w)
		r.untouched(closeWait, q.Client)
		r.untouched(finWait2, q.Server)
	})
}

// awaitOneDestroyed waits until one end of a connection has been destroyed, and the other with it.
func (r *reaper) awaitOneDestroyed(p nstest.Pair) {
	r.t.Helper()
	nstest.Eventually(r.t, patience, "one end is destroyed", func() bool {
		_, client := r.entry(p.Client, api.Destroyed)
		_, server := r.entry(p.Server, api.Destroyed)
		return client || server
	})
}

// reuseInode creates network namespaces until one has the inode number of a deleted one. The kernel gives the lowest free
// number to a namespace and to each of its files in /proc, so a number of namespaces that changes stays open.
func reuseInode(t *testing.T, inode uint64) (found *nstest.NS) {
	t.Helper()
	var others []*nstest.NS
	nstest.Eventually(t, patience, "the kernel reuses the inode number", func() bool {
		for range 20 {
			ns := nstest.New(t)
			id, err := netns.Identify(ns.Path())
			if err != nil {
				t.Fatal(err)
			}
			if id.Inode == inode {
				found = ns
				return true
			}
			if others = append(others, ns); rand.IntN(40) < len(others) {
				i := rand.IntN(len(others))
				others[i].Close()
				others = slices.Delete(others, i, i+1)
			}
		}
		return false
	})
	for _, ns := range others {
		ns.Close()
	}
	return found
}
