// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/state"
)

func TestFileNames(t *testing.T) {
	for _, tc := range []struct{ containerID, ifname, want string }{
		{"0a1b2c", "eth0", "0a1b2c@eth0.json"},
		{"a_b.c-d", "net1", "a_b.c-d@net1.json"},
		{"c", "veth@if2", "c@veth@if2.json"},
		{"c.json", ".json", "c.json@.json.json"},
		{"c", "été", "c@été.json"},
	} {
		a := state.Attachment{ContainerID: tc.containerID, IfName: tc.ifname}
		if got, err := a.FileName(); err != nil || got != tc.want {
			t.Errorf("%v: file name %q, %v, want %q", a, got, err, tc.want)
		}
		if got, err := state.ParseFileName(tc.want); err != nil || got != a {
			t.Errorf("%q: attachment %v, %v, want %v", tc.want, got, err, a)
		}
	}
}

func TestWhatIsNoFileNameIsNotParsed(t *testing.T) {
	for _, name := range []string{
		"", ".json", "@.json", "c@eth0", "c@.json", "@eth0.json", ".c@eth0.json", "c.json", "c@a/b.json", "../c@eth0.json",
		"c@eth0.json.tmp", "c@eth0.JSON", "c@sixteen-letters_.json", strings.Repeat("c", 250) + "@e.json",
	} {
		if a, err := state.ParseFileName(name); err == nil {
			t.Errorf("%q is the file of %v, want an error", name, a)
		}
	}
}

// The longest container ID must be long enough for the temporary file's name as well, which is longer.
func TestTheLongestContainerIDCanBeWritten(t *testing.T) {
	s := newStore(t)
	r := record(t, "", "fifteen-letters")
	r.ContainerID = strings.Repeat("c", 214)
	for range 20 { // the temporary name has a number in it, of up to 19 digits
		put(t, s, r)
	}
	r.ContainerID += "c"
	for verb, err := range map[string]error{"Put": s.Put(r), "Delete": s.Delete(r.Attachment)} {
		if err == nil || !strings.Contains(err.Error(), "at most 214 fit") {
			t.Errorf("%s with one more = %v, want an error that gives the limit", verb, err)
		}
	}
}

func FuzzFileName(f *testing.F) {
	f.Add("0a1b2c", "eth0")
	f.Add("c.json", "veth@if2")
	f.Add("..", "..")
	f.Add("c\n", "e\xff")
	f.Fuzz(func(t *testing.T, containerID, ifname string) {
		a := state.Attachment{ContainerID: containerID, IfName: ifname}
		name, err := a.FileName()
		if err != nil {
			return
		}
		if !filepath.IsLocal(name) || filepath.Base(name) != name || strings.HasPrefix(name, ".") || len(name) > 235 {
			t.Errorf("%q is no name for a file", name)
		}
		if got, err := state.ParseFileName(name); err != nil || got != a {
			t.Errorf("%q is parsed as %+v, %v, want %+v", name, got, err, a)
		}
	})
}

func FuzzParseFileName(f *testing.F) {
	f.Add("0a1b2c@eth0.json")
	f.Add("c@a@b.json.json")
	f.Add("../c@eth0.json")
	f.Fuzz(func(t *testing.T, name string) {
		a, err := state.ParseFileName(name)
		if err != nil {
			if a != (state.Attachment{}) {
				t.Errorf("%q: error %v along with %+v", name, err, a)
			}
			return
		}
		if got, err := a.FileName(); err != nil || got != name {
			t.Errorf("%q is the file of %+v, whose file is %q (%v)", name, a, got, err)
		}
	})
}

func TestPaths(t *testing.T) {
	env := func(dir string) func(string) string {
		return func(key string) string {
			if key == "HALFCLOSE_STATE_DIR" {
				return dir
			}
			return ""
		}
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ env, dir, mode string }{
		{"", "/run/halfclose", "/var/lib/halfclose/mode"},
		{"/run/halfclose", "/run/halfclose", "/var/lib/halfclose/mode"}, // the same, and a reboot does not empty it
		{"/run/halfclose/", "/run/halfclose", "/var/lib/halfclose/mode"},
		{"/srv/half", "/srv/half", "/srv/half/mode"},
		{"here", filepath.Join(wd, "here"), filepath.Join(wd, "here/mode")},
	} {
		if got := state.DirFromEnv(env(tc.env)); got != tc.dir {
			t.Errorf("%q: state directory %s, want %s", tc.env, got, tc.dir)
		}
		if got := state.SwitchPath(state.DirFromEnv(env(tc.env))); got != tc.mode {
			t.Errorf("%q: switch %s, want %s", tc.env, got, tc.mode)
		}
	}
	s := state.New("/run/halfclose/")
	for got, want := range map[string]string{
		s.Dir(): "/run/halfclose", s.AttachmentsDir(): "/run/halfclose/attachments", s.LockPath(): "/run/halfclose/reaper.lock",
		s.SocketPath(): "/run/halfclose/reaper.sock", s.CandidatesPath(): "/run/halfclose/candidates",
		s.LogPath(): "/run/halfclose/reaper.log",
	} {
		if got != want {
			t.Errorf("path %s, want %s", got, want)
		}
	}
}
