// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// registerAt records an attachment of the namespace under another path.
func (n *node) registerAt(ns *nstest.NS, path string, p policy.Policy) state.Record {
	n.tb.Helper()
	r := n.record(ns, p)
	r.Netns.Path = path
	if err := n.store.Put(r); err != nil {
		n.tb.Fatal(err)
	}
	return r
}

// led is a symbolic link to a namespace, which a test can point elsewhere.
type led struct {
	path string
	to   func(*nstest.NS)
}

func bySymlink(t *testing.T) led {
	path := filepath.Join(t.TempDir(), "netns")
	return led{path, func(ns *nstest.NS) {
		t.Helper()
		if err := os.Symlink(ns.Path(), path+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}}
}

func byDescriptor(t *testing.T) led {
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return led{fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), func(ns *nstest.NS) {
		t.Helper()
		if err := unix.Dup3(ns.FD(), fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}}
}

func TestPathOfAnotherNamespaceIsInert(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for name, make := range map[string]func(*testing.T) led{"by a symbolic link": bySymlink, "by a descriptor": byDescriptor} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				recorded, elsewhere, beside := newNS(t), newNS(t), newNS(t)
				n := newNode(t, finder)
				path := make(t)
				path.to(recorded)
				r := n.registerAt(recorded, path.path, timing(inetdiag.CloseWait, lenient))
				n.register(beside, timing(inetdiag.CloseWait, lenient))
				own := shut(t, recorded.Connect(t, nstest.IPv4))
				n.awaitVerdict(own.Server, policy.WithinGrace)

				foreign := shut(t, elsewhere.Connect(t, nstest.IPv4))
				path.to(elsewhere)
				n.outlive(beside, inetdiag.CloseWait)
				n.untouched(foreign.Server)
				n.untouched(own.Server)
				answers(t, foreign)
				answers(t, own)
				nstest.Eventually(t, patience, "the status says why", func() bool {
					v, ok := n.attachment(r.Attachment)
					return ok && strings.Contains(v.Problem+v.Inert, "another network namespace") && v.Candidates[inetdiag.CloseWait.String()] == 0
				})

				// A reaper that starts now does not follow the link either.
				if err := n.store.Put(r); err != nil {
					t.Fatal(err)
				}
				nstest.Eventually(t, patience, "the record is inert", func() bool {
					v, ok := n.attachment(r.Attachment)
					return ok && strings.Contains(v.Inert, "another network namespace")
				})

				// Once the link points back, the path leads to the recorded namespace again.
				path.to(recorded)
				if err := n.store.Put(r); err != nil {
					t.Fatal(err)
				}
				n.awaitKnown(own.Server)
				n.leap(lenient)
				n.awaitDestroyed(own.Server)
				n.untouched(foreign.Server)
			})
		}
	})
}

func TestRecordOfAnotherBootIsInert(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns, beside := newNS(t), newNS(t)
		n := newNode(t, finder)
		r := n.record(ns, timing(inetdiag.CloseWait, soon))
		r.Boot = "11111111-2222-3333-4444-555555555555"
		if err := n.store.Put(r); err != nil {
			t.Fatal(err)
		}
		n.register(beside, timing(inetdiag.CloseWait, soon))
		p := shut(t, ns.Connect(t, nstest.IPv4))
		n.outlive(beside, inetdiag.CloseWait)
		n.untouched(p.Server)
		answers(t, p)
		if v, ok := n.attachment(r.Attachment); !ok || !strings.Contains(v.Inert, "boot") || v.Mode != policy.Off {
			t.Errorf("the status says %+v", v)
		}
	})
}

func TestUnregisteredNamespaceIsIgnored(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns, beside := newNS(t), newNS(t)
		n := newNode(t, finder)
		n.register(beside, timing(inetdiag.CloseWait, soon))
		p := shut(t, ns.Connect(t, nstest.IPv4))
		n.outlive(beside, inetdiag.CloseWait)
		n.stillSpared(p.Server, api.SocketQuery{Netns: ns.Path()}, policy.NotRegistered)
		if v, _ := n.find(p.Server, api.SocketQuery{Netns: ns.Path()}); v.Deadline != nil || v.Mode != policy.Off || v.Why != "its network namespace has no attachment" {
			t.Errorf("listed as %+v", v)
		}
		if _, ok := n.find(p.Server, api.SocketQuery{Netns: ns.Path(), PodQuery: api.PodQuery{Pod: "web"}}); ok {
			t.Error("it is listed as a socket of a pod")
		}
		if _, ok := n.find(p.Server, live); ok {
			t.Error("it is listed with those of the registered namespaces")
		}
		answers(t, p)
	})
}

func TestHostNamespaceIsRefused(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for name, allowed := range map[string]bool{"unless that is allowed": false, "and watched where that is allowed": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				newNS(t) // for its privilege
				own, err := netns.OpenOwn()
				if err != nil {
					t.Fatal(err)
				}
				defer own.Close()
				id, err := own.Identify()
				if err != nil {
					t.Fatal(err)
				}
				n := newNode(t, finder, func(c *reaper.Config) { c.AllowHostNetns = allowed })
				// No socket of the host may be destroyed, even if the reaper has a bug.
				r := n.record(newNS(t), timing(inetdiag.CloseWait, 1000*60*60*1e9, observe))
				r.Netns = state.Netns{Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), own.FD()), Identity: id}
				if err := n.store.Put(r); err != nil {
					t.Fatal(err)
				}
				nstest.Eventually(t, patience, "the record is known", func() bool { _, ok := n.attachment(r.Attachment); return ok })
				v, _ := n.attachment(r.Attachment)
				if refused := strings.Contains(v.Inert, "--allow-host-netns"); refused == allowed {
					t.Errorf("the status says %q", v.Inert)
				}
				if want := map[bool]int{false: 0, true: 1}[allowed]; n.status().Namespaces != want {
					t.Errorf("%d namespaces, want %d", n.status().Namespaces, want)
				}
			})
		}
	})
}

func TestDELDropsTheCandidates(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns, beside := newNS(t), newNS(t)
		n := newNode(t, finder)
		r := n.register(ns, timing(inetdiag.CloseWait, lenient))
		n.register(beside, timing(inetdiag.CloseWait, lenient))
		p := shut(t, ns.Connect(t, nstest.IPv4))
		n.awaitVerdict(p.Server, policy.WithinGrace)
		nstest.Eventually(t, patience, "both namespaces are known", func() bool { return n.status().Namespaces == 2 })
		if err := n.store.Delete(r.Attachment); err != nil {
			t.Fatal(err)
		}
		nstest.Eventually(t, patience, "the namespace is not known any more", func() bool { return n.status().Namespaces == 1 })
		if v, ok := n.find(p.Server, api.SocketQuery{}); ok {
			t.Errorf("still listed: %+v", v)
		}
		n.outlive(beside, inetdiag.CloseWait)
		n.untouched(p.Server)
		answers(t, p)
		if got := n.status().Candidates[inetdiag.CloseWait.String()]; got != 0 {
			t.Errorf("%d candidates", got)
		}
	})
}

// TestRecordWithModeOffDropsTheCandidates replaces a namespace's only record by one with mode off: no later look would
// remove its candidates.
func TestRecordWithModeOffDropsTheCandidates(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := newNode(t, finder)
		r := n.register(ns, timing(inetdiag.CloseWait, lenient))
		p := shut(t, ns.Connect(t, nstest.IPv4))
		n.awaitVerdict(p.Server, policy.WithinGrace)
		r.Layers.Network.Mode = new(policy.Off)
		if err := n.store.Put(r); err != nil {
			t.Fatal(err)
		}
		nstest.Eventually(t, patience, "nothing is listed", func() bool { return len(n.sockets(api.SocketQuery{})) == 0 })
		r.Layers.Network.Mode = new(policy.Destroy)
		if err := n.store.Put(r); err != nil {
			t.Fatal(err)
		}
		n.awaitKnown(p.Server)
		n.leap(lenient)
		n.awaitDestroyed(p.Server)
	})
}

func TestInvalidRecordsAreReportedAndOthersApply(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns, beside := newNS(t), newNS(t)
		n := newNode(t, finder)
		n.register(beside, timing(inetdiag.CloseWait, soon))
		r := n.register(ns, timing(inetdiag.CloseWait, soon))
		name, err := r.FileName()
		if err != nil {
			t.Fatal(err)
		}
		whole, err := os.ReadFile(filepath.Join(n.store.AttachmentsDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{
			strings.Replace(name, r.ContainerID, "half", 1): string(whole[:len(whole)/2]),
			"newer@eth0:1-2.json":                           `{"version": 99, "everything": "else"}`,
			"alien.txt":                                     "hello",
			"empty@eth0:1-2.json":                           "",
			"other@eth0:1-2.json":                           string(whole), // its name has another attachment
		}
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(n.store.AttachmentsDir(), name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		nstest.Eventually(t, patience, "all files are reported, the newer one with what to do", func() bool { // it may be read before its content is written
			problems := n.status().Problems
			return len(problems) == len(files) && slices.ContainsFunc(problems, func(p api.ProblemView) bool {
				return p.File == "newer@eth0:1-2.json" && strings.Contains(p.Problem, "upgrade")
			})
		})
		for _, p := range n.status().Problems {
			if _, ok := files[p.File]; !ok || p.Problem == "" {
				t.Errorf("%q is reported: %s", p.File, p.Problem)
			}
		}
		n.outlive(beside, inetdiag.CloseWait)
		held := shut(t, ns.Connect(t, nstest.IPv4))
		n.awaitEntry(held.Server, "would-destroy") // one of the files names its namespace
		answers(t, held)
		for name := range files {
			if strings.Contains(name, ":1-2.") {
				continue // of a deleted netns: pruned ten minutes later, which may have leapt past
			}
			if _, err := os.Stat(filepath.Join(n.store.AttachmentsDir(), name)); err != nil {
				t.Errorf("the file is not there any more: %v", err)
			}
		}
	})
}
