// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package launch

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseCgroups(t *testing.T) {
	for _, tt := range []struct {
		name, give string
		want       []cgroup
	}{
		{"version 2", "0::/system.slice/containerd.service\n", []cgroup{{path: "/system.slice/containerd.service"}}},
		{"version 1 and hybrid", "3:cpu,cpuacct:/a\n2:name=systemd:/b:c\n0::/\n", []cgroup{
			{controllers: []string{"cpu", "cpuacct"}, path: "/a"},
			{controllers: []string{"name=systemd"}, path: "/b:c"},
			{path: "/"},
		}},
		{"what is no such line is skipped", "\nx\n1:y\n2:z:relative\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parseCgroups([]byte(tt.give))
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(cgroup{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestParseMounts(t *testing.T) {
	const give = `23 1 254:0 / / rw,relatime - ext4 /dev/root rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 /docker/1\0402 /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /mnt/a\040b\134c rw - cgroup2 cgroup2 rw,nsdelegate
42 31 0:39 / /cut - cgroup
43 31 0:40 / /cut/too
`
	want := []mount{
		{"/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", []string{"rw", "cpu", "cpuacct"}},
		{"/docker/1 2", "/sys/fs/cgroup/systemd", "cgroup", []string{"rw", "xattr", "name=systemd"}},
		{"/", `/mnt/a b\c`, "cgroup2", []string{"rw", "nsdelegate"}},
	}
	got := parseMounts([]byte(give))
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mount{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestOnlyAMountOfTheHierarchysRootServes(t *testing.T) {
	v1 := cgroup{controllers: []string{"cpu", "cpuacct"}, path: "/x"}
	v2 := cgroup{path: "/x"}
	for _, tt := range []struct {
		name  string
		mount mount
		cg    cgroup
		want  bool
	}{
		{"version 1, its controllers", mount{"/", "/m", "cgroup", []string{"rw", "cpuacct", "cpu"}}, v1, true},
		{"version 1, some of its controllers", mount{"/", "/m", "cgroup", []string{"rw", "cpu"}}, v1, false},
		{"version 1, only a part mounted", mount{"/part", "/m", "cgroup", []string{"cpu", "cpuacct"}}, v1, false},
		{"version 1 wanted, version 2 mounted", mount{"/", "/m", "cgroup2", []string{"rw"}}, v1, false},
		{"version 2", mount{"/", "/m", "cgroup2", []string{"rw"}}, v2, true},
		{"version 2, only a part mounted", mount{"/../..", "/m", "cgroup2", []string{"rw"}}, v2, false},
		{"version 2 wanted, version 1 mounted", mount{"/", "/m", "cgroup", []string{"rw", "cpu"}}, v2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.mount.showsRootOf(tt.cg); got != tt.want {
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
	bad := mount{"/", filepath.Join(dir, "bad"), "cgroup2", nil}

	t.Run("the next mount is tried when one does not serve", func(t *testing.T) {
		err := leaveCgroup(cg, []mount{bad, {"/", good, "cgroup2", nil}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(procs)
		if want := strconv.Itoa(os.Getpid()); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %s", got, err, want)
		}
	})
	t.Run("the error names hierarchy and cause", func(t *testing.T) {
		err := leaveCgroup(cg, []mount{bad})
		if !errors.Is(err, unix.ENOENT) || !strings.HasPrefix(err.Error(), "leave cgroup /runtime of hierarchy cgroup2: ") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("an unmounted hierarchy is said to be", func(t *testing.T) {
		err := leaveCgroup(cgroup{controllers: []string{"cpu", "cpuacct"}, path: "/r"}, nil)
		want := "leave cgroup /r of hierarchy cpu,cpuacct: its root is mounted nowhere"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestResetOOMScore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oom_score_adj")
	for _, give := range []string{"-999\n", "1000\n", "0\n"} {
		if err := os.WriteFile(path, []byte(give), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := resetOOMScore(path); err != nil {
			t.Errorf("%q: %v", give, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got[0]) != "0" {
			t.Errorf("%q became %q, %v", give, got, err)
		}
	}
	if err := resetOOMScore(path + "x"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
}

func TestWithoutCloseRangeEachDescriptorIsMarked(t *testing.T) {
	fd, err := unix.Dup(2)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := closeOnExecByProc(); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	if flags, err := unix.FcntlInt(2, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		t.Errorf("stderr has flags %#x, %v", flags, err)
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

func FuzzParseMounts(f *testing.F) {
	f.Add([]byte("32 31 0:29 / /sys/fs\\040x rw shared:1 - cgroup cgroup rw,cpu\n"))
	f.Add([]byte("1 1 0:1 / \\04 rw - cgroup2 c rw"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range parseMounts(b) {
			if m.fstype != "cgroup" && m.fstype != "cgroup2" {
				t.Errorf("a mount of %q from %q", m.fstype, b)
			}
			if len(m.point) > len(b) {
				t.Errorf("%q grew out of %q", m.point, b)
			}
		}
	})
}
