// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/owners"
)

// The size of a full node: pods, processes per pod, descriptors per process, and one process with many more.
const (
	fullPods      = 250
	fullProcesses = 5
	fullFiles     = 30
	fullMonster   = 15_000 // below the usual limit of a process
)

// BenchmarkProcOnAFullNode searches for the owners of a pod's sockets, and of a socket without an owner.
func BenchmarkProcOnAFullNode(b *testing.B) {
	pods := make([]*nstest.NS, fullPods)
	for i := range pods {
		pods[i] = nstest.New(b)
	}
	crowd(b, pods)
	monster := monsters(b, fullMonster)
	leak := newSocket(b, pods[7])
	cat(b, pods[7], leak)
	leak.Close()
	gone := newSocket(b, pods[7])
	gone.Close()
	for _, bb := range []struct {
		name    string
		scope   owners.Scope
		netns   []*nstest.NS
		sockets []socket
	}{
		{"a socket of a pod, inside", owners.NetnsProcesses, pods[7:8], []socket{leak}},
		{"a socket of a pod, everywhere", owners.AllProcesses, pods[7:8], []socket{leak}},
		{"a socket that is gone, beyond", owners.NetnsProcessesFirst, pods[7:8], []socket{gone}},
		{"as one of every pod, inside", owners.NetnsProcesses, pods, []socket{leak}},
		{"all of one process, everywhere", owners.AllProcesses, nil, monster},
	} {
		q := query(bb.scope, bb.netns, bb.sockets...)
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			p := owners.NewProc("/proc")
			for b.Loop() {
				_, err := p.Find(b.Context(), q)
				if _, unseen := errors.AsType[*owners.UnseenError](err); err != nil && !unseen {
					b.Fatal(err)
				}
			}
		})
	}
}

// crowd starts processes that sleep until the benchmark ends or its process exits.
func crowd(b *testing.B, pods []*nstest.NS) {
	b.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var all []*exec.Cmd
	b.Cleanup(func() {
		w.Close()
		for _, cmd := range all {
			_ = cmd.Wait()
		}
	})
	for _, ns := range pods {
		for range fullProcesses {
			cmd := exec.Command("cat")
			cmd.Stdin = r
			for range fullFiles {
				cmd.ExtraFiles = append(cmd.ExtraFiles, r)
			}
			ns.Do(b, func() { err = cmd.Start() })
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, cmd)
		}
	}
}

// monsters returns sockets of this process.
func monsters(b *testing.B, n int) []socket {
	b.Helper()
	all := make([]socket, n)
	for i := range all {
		all[i] = newSocket(b, nil)
	}
	return all
}
