// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// TestReaperWithoutBPFFindsTheSameWithSockDiag starts reapers where the bpf finder cannot work. Log, status and doctor
// show the reason, and leaks are destroyed as usual.
func TestReaperWithoutBPFFindsTheSameWithSockDiag(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ limit, reason, doctor string }{
		{noBPF, "refused", `info +bpf +.*(refuses it|security module)`},
		{oldBPF, "needs Linux 5.14 with CONFIG_BPF_SYSCALL", `info +bpf +.*CONFIG_BPF_SYSCALL`},
		{noTypes, "no BTF", `info +btf +.*has no BTF`},
	} {
		t.Run(tt.limit, func(t *testing.T) {
			t.Parallel()
			r, s := idleReaper(t, finder.NameAuto), newScene(t)
			r.startIn(under(tt.limit))
			r.register(s.near, "pod", `{"grace": "1s"}`)
			r.awaitEntry(s.leftByServer().Client, api.Destroyed)
			if got := r.status().Finder; got.Name != finder.NameSockDiag || !strings.Contains(got.Why, tt.reason) {
				t.Errorf("the finder in the status is %+v, want sockdiag because of %q", got, tt.reason)
			}
			if !slices.ContainsFunc(r.logged(tt.reason), func(line string) bool { return strings.Contains(line, "finder") }) {
				t.Errorf("the log has no line about the finder with %q", tt.reason)
			}
			out, _ := r.runIn(under(tt.limit), "doctor")
			if !regexp.MustCompile(tt.doctor).MatchString(out) {
				t.Errorf("doctor does not print %q:\n%s", tt.doctor, out)
			}
		})
	}
}

// TestReaperWithoutPidfdGetfdDestroysByGrace starts reapers that cannot receive descriptors. A leak whose peer is gone ends
// with its grace, and the reason why its peer was not asked is shown.
func TestReaperWithoutPidfdGetfdDestroysByGrace(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for _, tt := range []struct{ limit, obstacle string }{{noGetfd, "refused"}, {oldGetfd, "kernel"}} {
			t.Run(tt.limit, func(t *testing.T) {
				t.Parallel()
				r, s := idleReaper(t, finder), newScene(t)
				r.startIn(under(tt.limit))
				r.register(s.near, "pod", `{"probeAfter": "1s", "grace": "5s"}`)
				p := s.leftByServer()
				if err := p.Server.Close(); err != nil {
					t.Fatal(err)
				}
				r.awaitView(p.Client, "the peer was not asked: "+tt.obstacle, func(v api.SocketView) bool { return v.NotAsked == tt.obstacle })
				r.awaitEntry(p.Client, api.Destroyed)
				if n := r.status().Peers.NotAsked[tt.obstacle]; n == 0 {
					t.Errorf("the status counts no peer that was not asked: %v", r.status().Peers)
				}
			})
		}
	})
}

// modulesVar is an environment variable with a directory of the modules of sock_diag, which are not loaded: make
// test-kernels boots such a machine.
const modulesVar = "HALFCLOSE_TEST_UNLOADED"

// TestReaperWithoutTheModulesOfSockDiagWorksOnceTheyAreLoaded starts a reaper on a kernel without them. Log, status, health,
// metrics and doctor show the reason, and containers start. When the modules are loaded, it destroys what it has not found
// before.
func TestReaperWithoutTheModulesOfSockDiagWorksOnceTheyAreLoaded(t *testing.T) {
	dir := os.Getenv(modulesVar)
	if dir == "" {
		t.Skip("needs a kernel without loaded modules of sock_diag: make test-kernels has one")
	}
	if err := inetdiag.Probe(); !errors.Is(err, inetdiag.ErrNoTCP) {
		t.Fatalf("sock_diag answers (%v): the modules are loaded", err)
	}
	const reason = "tcp_diag"
	var reapers []*reaper
	var scenes []*scene
	for _, name := range []string{finder.NameSockDiag, finder.NameAuto} {
		r, s := idleReaper(t, name), newScene(t)
		r.put(r.record(s.near, "pod", `{"grace": "1s", "probeAfter": "never"}`))
		s.leftByServer()
		r.launch(nil)
		reapers, scenes = append(reapers, r), append(scenes, s)
	}
	for _, r := range reapers {
		eventually := func(what string, cond func() bool) {
			t.Helper()
			nstest.Eventually(t, patience, r.finder+": "+what, cond)
		}
		eventually("the status has the reason", func() bool {
			text, _ := r.statusText()
			return strings.Contains(text, reason)
		})
		eventually("the log has the reason", func() bool {
			return slices.ContainsFunc(r.logged(reason), func(line string) bool { return !strings.Contains(line, "level=INFO") })
		})
		eventually("health fails", func() bool {
			_, err := r.Health(context.Background())
			return err != nil
		})
		eventually("the metrics count it", func() bool {
			return regexp.MustCompile(`(?m)^halfclose_unreachable_netns 1$`).MatchString(r.metrics())
		})
		if out, err := r.runIn(nil, "doctor"); err == nil || !strings.Contains(out, "modprobe -a inet_diag tcp_diag") {
			t.Errorf("doctor: %v, want it to fail with the command that loads the modules:\n%s", err, out)
		}
		if out, err := r.add(nstest.New(t), "eth0", `"grace": "1h"`); err != nil {
			t.Errorf("ADD: %v\n%s", err, out)
		}
	}
	loadModules(t, dir)
	for i, r := range reapers {
		nstest.Eventually(t, patience, r.finder+": the reaper destroys", func() bool {
			return slices.ContainsFunc(r.entries(), func(e api.Entry) bool { return e.Outcome == api.Destroyed })
		})
		r.awaitWork()
		r.register(nstest.New(t), "later", `{"grace": "1h"}`)
		r.awaitEntry(scenes[i].leftByServer().Client, api.Destroyed)
		if text, _ := r.statusText(); strings.Contains(text, reason) {
			t.Errorf("%s: the status still has the reason: %s", r.finder, text)
		}
	}
}

// loadModules loads the modules in dir whose names end in _diag, in the order of their names.
func loadModules(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_diag.ko"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no modules in %s: %v", dir, err)
	}
	slices.Sort(files)
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			t.Fatalf("load %s: %v", path, err)
		}
	}
}
