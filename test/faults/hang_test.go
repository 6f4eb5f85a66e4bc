// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/test/node"
)

// hungPath is a path of the reaper that hangs.
type hungPath struct {
	name  string
	flags func(dir string) []string // of the reaper; dir hangs
	// record is set if the path of a record's network namespace hangs.
	record   bool
	observes bool // no socket is destroyed
	does     string
	report   report
}

func hungPaths() []hungPath {
	return []hungPath{
		{
			name: "the path of a network namespace", record: true,
			does:   "Its record is inert until the file system answers.",
			report: report{status: "its file system does not answer"},
		},
		{
			name: "the policy file", flags: func(dir string) []string { return []string{"--policy-file", dir + "/policy.yaml"} }, observes: true,
			does:   "The last good content stays in force; without one all pods are only observed.",
			report: report{log: "does not answer", status: "its file system does not answer"},
		},
		{
			name: "the directory of network configurations", flags: func(dir string) []string {
				return []string{"--adopt", "--cni-conf-dir", dir, "--cni-cache", "/run/none"}
			},
			does: "Containers that ran before are not registered until the file system answers.",
		},
		{
			name: "libcni's result cache", flags: func(dir string) []string { return []string{"--adopt", "--cni-cache", dir} },
			does: "Containers that ran before are not registered until the file system answers.",
		},
	}
}

func TestTheDocumentHasTheTableOfPathsThatHang(t *testing.T) {
	var want []string
	for _, h := range hungPaths() {
		want = append(want, "| "+h.name+" | "+h.does+" | "+h.report.String()+" |")
	}
	inDocument(t, "Paths that hang", want)
}

// TestAPathThatHangsHarmsNoOther mounts a FUSE file system whose server does not answer.
func TestAPathThatHangsHarmsNoOther(t *testing.T) {
	t.Parallel()
	for _, h := range hungPaths() {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			node.Need(t)
			mount := nstest.MountHung(t)
			flags := []string{"--finder", "sockdiag"}
			if h.flags != nil {
				flags = append(flags, h.flags(mount.Dir)...)
			}
			s := newScene(t, flags...)
			hung := s.newSite()
			if h.record {
				r := testnode.NewRecord(t, hung.Path(), hung.container, layersOf(t, destroying))
				r.Netns.Path = filepath.Join(mount.Dir, "netns")
				s.Put(r)
			}
			s.start([]uintptr{unix.SYS_OPENAT})
			s.awaitReport(h.report)
			// A change of the records is noticed.
			control := s.newSite()
			s.register(control.NS, control.container, destroying)
			if h.observes {
				s.AwaitVerdict(testnode.ConnOf(control.leak), policy.WouldDestroy)
			} else {
				s.awaitDestroyed("a leak in another namespace", control.leak)
			}
			if got := stateOf(t, hung.leak); got != closeWait {
				t.Errorf("the leak without a registration is in state %d", got)
			}
			s.finish()
		})
	}
}

// TestAReaperExitsWhilePathsHang stops a reaper while all of its paths hang.
func TestAReaperExitsWhilePathsHang(t *testing.T) {
	t.Parallel()
	node.Need(t)
	mount := nstest.MountHung(t)
	s := newScene(t, "--finder", "sockdiag", "--adopt", "--policy-file", mount.Dir+"/policy.yaml", "--cni-conf-dir", mount.Dir, "--cni-cache", mount.Dir)
	s.start([]uintptr{unix.SYS_OPENAT})
	s.awaitReport(report{status: "its file system does not answer"})
	s.finish()
}

// TestAPluginWhosePathsHangPreventsNoPod lets a system call of the plugin hang.
func TestAPluginWhosePathsHangPreventsNoPod(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		calls []uintptr
		where func(w *paths) func(*inject.Call) bool
	}{
		{"the network namespace", calls(unix.SYS_OPENAT, unix.SYS_OPENAT2), func(w *paths) func(*inject.Call) bool { return in(w.netns) }},
		{"the state directory", calls(unix.SYS_OPENAT, unix.SYS_OPENAT2), inState},
		{"the record", calls(unix.SYS_WRITE, unix.SYS_RENAMEAT, unix.SYS_UNLINKAT), inState},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			node.Need(t)
			dir, err := os.MkdirTemp("/run", "hc")
			if err != nil {
				t.Fatal(err)
			}
			ns := nstest.New(t)
			for _, verb := range []string{"ADD", "DEL"} {
				if verb == "DEL" {
					if out, err := pluginCall("ADD", dir, ns.Path(), "container", `, "reaper": "external"`).CombinedOutput(); err != nil {
						t.Fatalf("ADD: %v: %s", err, out)
					}
				}
				b := onceBoundary{calls: tt.calls, where: tt.where, message: "does not answer"}
				if verb == "DEL" && tt.name == "the network namespace" {
					continue // DEL does not open it
				}
				r := b.runOnce(t, pluginCall(verb, dir, ns.Path(), "container", `, "reaper": "external"`), &paths{state: dir, netns: ns.Path()}, inject.Hang())
				if r.code != 0 {
					t.Errorf("%s: exit code %d:\n%s%s", verb, r.code, r.stdout, r.stderr)
				}
			}
		})
	}
}
