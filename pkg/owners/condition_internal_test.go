// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseCgroupReturnsTheCgroupsThatCanFreeze(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want membership
	}{
		"version 2":                  {"0::/kubepods.slice/pod1\n", membership{v2: "/kubepods.slice/pod1"}},
		"version 1":                  {"7:freezer:/docker/x\n2:cpu,cpuacct:/other\n", membership{v1: "/docker/x"}},
		"both":                       {"12:cpu:/c\n6:memory,freezer:/a\n1:name=systemd:/s\n0::/b\n", membership{v2: "/b", v1: "/a"}},
		"a colon in the path":        {"0::/a:b\n", membership{v2: "/a:b"}},
		"outside of the namespace":   {"0::/../../x\n", membership{v2: "/../../x"}},
		"a hierarchy with that name": {"5:name=freezer:/x\n", membership{}},
		"none":                       {"", membership{}},
		"no cgroups(7) line":         {"0:\n::\nfreezer\n0::relative\n", membership{}},
	} {
		if got := parseCgroup(tc.text); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestACgroupIsFoundBelowItsMount(t *testing.T) {
	for _, tc := range []struct{ root, path, want string }{
		{"/", "/", "/cg"},
		{"/", "/a/b", "/cg/a/b"},
		{"/a", "/a", "/cg"},
		{"/a", "/a/b", "/cg/b"},
		{"/a", "/ab", ""},
		{"/a", "/", ""},
		{"/", "/../x", ""},
		{"/..", "/../x", "/cg/x"},
		{"/../..", "/../../x/y", "/cg/x/y"},
		{"/..", "/../../x", ""},
		{"/../..", "/../x", ""},
		{"/", "/..x", "/cg/..x"},
	} {
		got, ok := cgroupMount{root: tc.root, dir: "/cg"}.file(tc.path)
		got = strings.TrimSuffix(got, "/")
		if got != tc.want || ok != (tc.want != "") {
			t.Errorf("mount of %s: %s is at %q, want %q", tc.root, tc.path, got, tc.want)
		}
	}
}

const statusText = "Name:\tcat\\nState:\tT\nState:\tS (sleeping)\nTgid:\t7\nNSpid:\t7\t1\nThreads:\t3\nSigIgn:\t0000000000001000\nSigCgt:\t0000000180000000\n"

func TestParseStatus(t *testing.T) {
	s, err := parseStatus([]byte(statusText))
	if want := (status{state: 'S', threads: 3, ignored: 0x1000, caught: 0x180000000, init: true}); err != nil || s != want {
		t.Errorf("%+v, want %+v: %v", s, want, err)
	}
	for _, text := range []string{"", "State:\n", "State:\tS\nThreads:\tmany\n", "State:\tS\nSigIgn:\tx\n", "State:\tS\nSigCgt:\t-1\n"} {
		if s, err := parseStatus([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

func TestSIGPIPEKillsUnlessItIsIgnoredOrHandled(t *testing.T) {
	for _, tc := range []struct {
		status
		want Sigpipe
	}{
		{status{}, SigpipeKills},
		{status{ignored: 1 << 12}, SigpipeIgnored},
		{status{caught: 1 << 12}, SigpipeIgnored},
		{status{ignored: ^uint64(1 << 12), caught: ^uint64(1 << 12)}, SigpipeKills},
		{status{init: true}, SigpipeIgnored},
	} {
		if got := tc.sigpipe(); got != tc.want {
			t.Errorf("%+v: %d, want %d", tc.status, got, tc.want)
		}
	}
}

func TestValueOfFindsANumberByItsKey(t *testing.T) {
	for _, tc := range []struct {
		text, key string
		want      uint64
		found     bool
	}{
		{"populated 1\nfrozen 1\n", "frozen", 1, true},
		{"populated 1\nfrozen 0\n", "frozen", 0, true},
		{"frozen_usec 12345\n", "frozen_usec", 12345, true},
		{"frozen_usec 12345\n", "frozen", 0, false},
		{"frozen\n", "frozen", 0, false},
		{"frozen 1 2\n", "frozen", 0, false},
		{"frozen -1\n", "frozen", 0, false},
		{"", "frozen", 0, false},
	} {
		if got, found := valueOf(tc.text, tc.key); got != tc.want || found != tc.found {
			t.Errorf("%s in %q: %d, %t, want %d, %t", tc.key, tc.text, got, found, tc.want, tc.found)
		}
	}
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(statusText))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseStatus(text)
		if err == nil && s.state == 0 {
			t.Error("no state and no error")
		}
	})
}

func FuzzCgroup(f *testing.F) {
	f.Add("6:memory,freezer:/a\n0::/../b\n", "/..")
	f.Fuzz(func(t *testing.T, text, root string) {
		m := parseCgroup(text)
		for _, path := range []string{m.v1, m.v2} {
			if path == "" {
				continue
			}
			if path[0] != '/' {
				t.Errorf("the path %q is relative", path)
			}
			if dir, ok := (cgroupMount{root: root, dir: "/cg"}).file(path); ok && strings.Contains(dir+"/", "/../") {
				t.Errorf("mount of %q: %q is at %q, outside of the mount", root, path, dir)
			}
		}
	})
}

func FuzzValue(f *testing.F) {
	f.Add("populated 1\nfrozen 1\n", "frozen")
	f.Fuzz(func(t *testing.T, text, key string) {
		if value, found := valueOf(text, key); !found && value != 0 {
			t.Errorf("a value without a key: %d", value)
		}
	})
}

// TestMountsAreReadAgainWhereTheyLackACgroup moves the only mount of a hierarchy between readings.
func TestMountsAreReadAgainWhereTheyLackACgroup(t *testing.T) {
	proc := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	reads := func(p *Proc) bool { return newCgroups(p.dir, p.init, &p.mounts).current }
	write(filepath.Join(proc, "1/mountinfo"), "")
	p := NewProc(proc)
	for range 2 {
		hierarchy := t.TempDir()
		write(filepath.Join(hierarchy, "pod/cgroup.events"), "populated 1\nfrozen 1\n")
		write(filepath.Join(proc, "thread-self/mountinfo"), "30 20 0:26 / "+hierarchy+" rw - cgroup2 cgroup2 rw\n")
		f, err := newCgroups(p.dir, p.init, &p.mounts).freezer(membership{v2: "/pod"})
		if err != nil || !f.frozen {
			t.Errorf("%+v, %v", f, err)
		}
		if reads(p) {
			t.Error("the mounts are read again, although they are known")
		}
		if err := os.RemoveAll(hierarchy); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := newCgroups(p.dir, p.init, &p.mounts).freezer(membership{v2: "/pod"}); err == nil {
		t.Error("a cgroup without a mount has a state")
	}
}
