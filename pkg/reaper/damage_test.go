// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// TestDamageToOneOfTwoRecordsDestroysNothing damages the record with mode observe, or ends the process of its path. The
// namespace's other record allows destroying, and so does the record of another namespace.
func TestDamageToOneOfTwoRecordsDestroysNothing(t *testing.T) {
	replace := func(old, text string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, text, 1) }
	}
	for name, damage := range map[string]func(string) string{
		"cut short":          func(s string) string { return s[:len(s)/2] },
		"empty":              func(string) string { return "" },
		"of a newer version": replace(`"version": 2`, `"version": 99`),
		"an unknown word":    replace(`"observe"`, `"Observe"`),
		"its process exits":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			eachFinder(t, func(t *testing.T, finder string) {
				ns, other := newNS(t), newNS(t)
				n := newNode(t, finder)
				process := exec.Command("sleep", "1000")
				ns.Do(t, func() {
					if err := process.Start(); err != nil {
						t.Fatal(err)
					}
				})
				t.Cleanup(func() { _ = process.Process.Kill() }) // it has exited already in one case
				observing := n.record(ns, timing(inetdiag.CloseWait, soon, func(p *policy.Policy) { p.Mode = policy.Observe }))
				observing.IfName = "net1"
				if damage == nil {
					observing.Netns.Path = "/proc/" + strconv.Itoa(process.Process.Pid) + "/ns/net"
				}
				if err := n.store.Put(observing); err != nil {
					t.Fatal(err)
				}
				n.registerAs(ns, "eth0", timing(inetdiag.CloseWait, soon))
				n.register(other, timing(inetdiag.CloseWait, soon))
				nstest.Eventually(t, patience, "all are known", func() bool { return len(n.status().Attachments) == 3 })
				spoil(t, n, observing, damage, process)
				p := ns.Connect(t, nstest.IPv4)
				if err := p.Client.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				n.awaitEntry(p.Server, "would-destroy")
				n.outlive(other, inetdiag.CloseWait)
				if e, ok := n.entry(p.Server, "destroyed"); ok {
					t.Errorf("it was destroyed: %+v", e)
				}
				check(t, "a send to the client", sent(p.Server), nil)
			})
		})
	}
}

// spoil damages the file of a record, or ends the process of its path, and waits until the reaper has noticed.
func spoil(t *testing.T, n *node, r state.Record, damage func(string) string, process *exec.Cmd) {
	t.Helper()
	if damage == nil {
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait()                     // killed
		if err := n.store.Put(r); err != nil { // no file changes when a process exits: the reaper checks every half minute
			t.Fatal(err)
		}
		nstest.Eventually(t, 2*patience, "the record is inert", func() bool {
			for _, a := range n.status().Attachments {
				if a.IfName == "net1" {
					return a.Inert != ""
				}
			}
			return false
		})
		return
	}
	name, err := r.FileName()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(n.store.AttachmentsDir(), name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if damaged := damage(string(text)); damaged == string(text) {
		t.Fatalf("nothing was damaged in\n%s", text)
	} else if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, patience, "the file is reported", func() bool { return len(n.status().Problems) == 1 })
}
