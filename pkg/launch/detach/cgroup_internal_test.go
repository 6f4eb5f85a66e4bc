// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package detach

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func TestParseCgroups(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []cgroup
	}{
		{"version 2", "0::/system.slice/containerd.service\n", []cgroup{{path: "/system.slice/containerd.service"}}},
		{"version 1 and hybrid", "3:cpu,cpuacct:/a\n2:name=systemd:/b:c\n0::/\n", []cgroup{
			{controllers: []string{"cpu", "cpuacct"}, path: "/a"},
			{controllers: []string{"name=systemd"}, path: "/b:c"},
			{path: "/"},
		}},
		{"malformed lines are skipped", "\nx\n1:y\n2:z:relative\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parseCgroups([]byte(tt.text))
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(cgroup{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestOnlyAMountOfTheHierarchysRootIsUsed(t *testing.T) {
	v1 := cgroup{controllers: []string{"cpu", "cpuacct"}, path: "/x"}
	v2 := cgroup{path: "/x"}
	for _, tt := range []struct {
		name  string
		mount *mountinfo.Info
		cg    cgroup
		want  bool
	}{
		{"version 1, its controllers", &mountinfo.Info{Root: "/", Mountpoint: "/m", FSType: "cgroup", VFSOptions: "rw,cpuacct,cpu"}, v1, true},
		{"version 1, some of its controllers", &mountinfo.Info{Root: "/", Mountpoint: "/m", FSType: "cgroup", VFSOptions: "rw,cpu"}, v1, false},
		{"version 1, only a part mounted", &mountinfo.Info{Root: "/part", Mountpoint: "/m", FSType: "cgroup", VFSOptions: "cpu,cpuacct"}, v1, false},
		{"version 1 wanted, version 2 mounted", &mountinfo.Info{Root: "/", Mountpoint: "/m", FSType: "cgroup2", VFSOptions: "rw"}, v1, false},
		{"version 2", &mountinfo.Info{Root: "/", Mountpoint: "/m", FSType: "cgroup2", VFSOptions: "rw"}, v2, true},
		{"version 2, only a part mounted", &mountinfo.Info{Root: "/../..", Mountpoint: "/m", FSType: "cgroup2", VFSOptions: "rw"}, v2, false},
		{"version 2 wanted, version 1 mounted", &mountinfo.Info{Root: "/", Mountpoint: "/m", FSType: "cgroup", VFSOptions: "rw,cpu"}, v2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.cg.isRootMount(tt.mount); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestLeaveCgroup(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if err := os.Mkdir(good, 0o755); err != nil {
		t.Fatal(err)
	}
	procs := filepath.Join(good, "cgroup.procs")
	if err := os.WriteFile(procs, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cg := cgroup{path: "/runtime"}
	bad := &mountinfo.Info{Root: "/", Mountpoint: filepath.Join(dir, "bad"), FSType: "cgroup2"}

	t.Run("the next mount is tried after a failure", func(t *testing.T) {
		err := leaveCgroup(cg, []*mountinfo.Info{bad, {Root: "/", Mountpoint: good, FSType: "cgroup2"}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(procs)
		if want := strconv.Itoa(os.Getpid()); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %s", got, err, want)
		}
	})
	t.Run("the error names the hierarchy and the cause", func(t *testing.T) {
		err := leaveCgroup(cg, []*mountinfo.Info{bad})
		if !errors.Is(err, unix.ENOENT) || !strings.HasPrefix(err.Error(), "leave cgroup /runtime of hierarchy cgroup2: ") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a hierarchy that is not mounted is an error", func(t *testing.T) {
		err := leaveCgroup(cgroup{controllers: []string{"cpu", "cpuacct"}, path: "/r"}, nil)
		want := "leave cgroup /r of hierarchy cpu,cpuacct: its root is not mounted"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestResetOOMScore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oom_score_adj")
	for _, score := range []string{"-999\n", "1000\n", "0\n"} {
		if err := os.WriteFile(path, []byte(score), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := resetOOMScore(path); err != nil {
			t.Errorf("%q: %v", score, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got[0]) != "0" {
			t.Errorf("%q became %q, %v", score, got, err)
		}
	}
	if err := resetOOMScore(path + "x"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseCgroups(f *testing.F) {
	f.Add([]byte("3:cpu,cpuacct:/a\n0::/\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, cg := range parseCgroups(b) {
			if !strings.HasPrefix(cg.path, "/") {
				t.Errorf("path %q of %q", cg.path, b)
			}
		}
	})
}
