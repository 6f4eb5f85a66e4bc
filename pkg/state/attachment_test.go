// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestFileNames(t *testing.T) {
	for _, tc := range []struct {
		containerID, ifname string
		netns               state.NetnsKey
		want                string
	}{
		{"0a1b2c", "eth0", state.NetnsKey{Cookie: 54048, Inode: 4026532177}, "0a1b2c@eth0:d320-f0000151.json"},
		{"a_b.c-d", "net1", state.NetnsKey{Cookie: 1<<64 - 1, Inode: 1}, "a_b.c-d@net1:ffffffffffffffff-1.json"},
		{"c", "veth@if2", state.NetnsKey{Cookie: 1, Inode: 2}, "c@veth@if2:1-2.json"},
		{"c.json", ".json", state.NetnsKey{Cookie: 1, Inode: 2}, "c.json@.json:1-2.json"},
		{"c", "été", state.NetnsKey{Cookie: 1, Inode: 2}, "c@été:1-2.json"},
		{"c", "eth0", state.NetnsKey{Inode: 4026532177}, "c@eth0:0-f0000151.json"}, // a kernel without cookies
	} {
		r := state.Record{Attachment: state.Attachment{ContainerID: tc.containerID, IfName: tc.ifname}}
		r.Netns.Identity = netns.Identity{Cookie: tc.netns.Cookie, Dev: 4, Inode: tc.netns.Inode}
		if got, err := r.FileName(); err != nil || got != tc.want {
			t.Errorf("%v: file name %q, %v, want %q", r.Attachment, got, err, tc.want)
		}
		if a, key, err := state.ParseFileName(tc.want); err != nil || a != r.Attachment || key != tc.netns {
			t.Errorf("%q: %v of netns %v, %v, want %v of %v", tc.want, a, key, err, r.Attachment, tc.netns)
		}
	}
}

func TestInvalidFileNamesAreNotParsed(t *testing.T) {
	for _, name := range []string{
		"", ".json", "@.json", "c@eth0", "c@eth0.json", "c@.json", "@eth0.json", ".c@eth0.json", "c.json", "c@a/b.json", "../c@eth0.json",
		"c@eth0.json.tmp", "c@eth0.JSON", "c@sixteen-letters_.json", strings.Repeat("c", 250) + "@e.json",
		"c@eth0:.json", "c@eth0:1.json", "c@eth0:1-.json", "c@eth0:-1.json", "c@eth0:1-0.json", "c@eth0:01-2.json",
		"c@eth0:1-2-3.json", "c@eth0:1:2.json", "c@eth0:A-2.json", "c@eth0:0x1-2.json", "c@eth0:+1-2.json", "c@eth0:1_0-2.json",
		"c@eth0:10000000000000000-2.json", ":1-2.json", "c:1-2.json", ".new-1", ".new-1@eth0:1-2.json",
	} {
		if a, key, err := state.ParseFileName(name); err == nil || a != (state.Attachment{}) || key != (state.NetnsKey{}) {
			t.Errorf("%q is the file of %v in netns %v (%v), want an error alone", name, a, key, err)
		}
	}
}

func TestAKeyNamesOnlyItsNetns(t *testing.T) {
	for _, tc := range []struct {
		key  state.NetnsKey
		id   netns.Identity
		want bool
	}{
		{state.NetnsKey{Cookie: 7, Inode: 1}, netns.Identity{Cookie: 7, Dev: 4, Inode: 1}, true},
		{state.NetnsKey{Cookie: 7, Inode: 1}, netns.Identity{Cookie: 8, Dev: 4, Inode: 1}, false}, // a later one of the inode number
		{state.NetnsKey{Cookie: 7, Inode: 1}, netns.Identity{Cookie: 7, Dev: 4, Inode: 2}, true},  // only the cookie distinguishes them
		{state.NetnsKey{Cookie: 7, Inode: 1}, netns.Identity{Dev: 4, Inode: 1}, true},             // with an unknown cookie
		{state.NetnsKey{Inode: 1}, netns.Identity{Cookie: 7, Dev: 4, Inode: 1}, true},
		{state.NetnsKey{Inode: 1}, netns.Identity{Dev: 4, Inode: 2}, false},
		{state.NetnsKey{}, netns.Identity{}, false},
		{state.NetnsKey{}, netns.Identity{Cookie: 7, Dev: 4, Inode: 1}, false},
	} {
		if got := tc.key.Names(tc.id); got != tc.want {
			t.Errorf("%v names %v: %v, want %v", tc.key, tc.id, got, tc.want)
		}
	}
}

func TestTheLongestContainerIDCanBeWritten(t *testing.T) {
	s := newStore(t)
	r := record(t, "", "fifteen-letters")
	r.Netns.Cookie = 1<<40 - 1 // more namespaces than a machine creates in one boot
	r.ContainerID = strings.Repeat("c", 214)
	for range 20 { // the temporary name has a number in it, of up to 19 digits
		put(t, s, r)
	}
	r.Netns.Cookie = 1<<64 - 1
	if err := s.Put(r); err == nil || !strings.Contains(err.Error(), "file name of 261 bytes is too long") {
		t.Errorf("Put with the longest cookie = %v, want an error that says why", err)
	}
	r.ContainerID += "c"
	for verb, err := range map[string]error{"Put": s.Put(r), "Delete": s.Delete(r.Attachment)} {
		if err == nil || !strings.Contains(err.Error(), "at most 214 fit") {
			t.Errorf("%s with one more = %v, want an error that gives the limit", verb, err)
		}
	}
}

func FuzzFileName(f *testing.F) {
	f.Add("0a1b2c", "eth0", uint64(54048), uint64(4026532177))
	f.Add("c.json", "veth@if2", uint64(0), uint64(1))
	f.Add("..", "..", uint64(1), uint64(1))
	f.Add("c\n", "e\xff", uint64(1), uint64(1))
	f.Fuzz(func(t *testing.T, containerID, ifname string, cookie, inode uint64) {
		r := state.Record{Attachment: state.Attachment{ContainerID: containerID, IfName: ifname}}
		r.Netns.Identity = netns.Identity{Cookie: cookie, Dev: 4, Inode: inode}
		name, err := r.FileName()
		if err != nil {
			return
		}
		if !filepath.IsLocal(name) || filepath.Base(name) != name || strings.HasPrefix(name, ".") || len(name) > 255 {
			t.Errorf("%q is no name for a file", name)
		}
		if a, key, err := state.ParseFileName(name); err != nil || a != r.Attachment || key != state.KeyOf(r.Netns.Identity) {
			t.Errorf("%q is parsed as %+v of netns %v, %v, want %+v", name, a, key, err, r)
		}
	})
}

func FuzzParseFileName(f *testing.F) {
	f.Add("0a1b2c@eth0:d320-f0000151.json")
	f.Add("0a1b2c@eth0:d320-f0000151:adopted.json")
	f.Add("c@a@b.json:0-1.json")
	f.Add("../c@eth0.json")
	f.Fuzz(func(t *testing.T, name string) {
		a, key, err := state.ParseFileName(name)
		if err != nil {
			if a != (state.Attachment{}) || key != (state.NetnsKey{}) {
				t.Errorf("%q: error %v along with %+v, %v", name, err, a, key)
			}
			return
		}
		r := state.Record{Attachment: a}
		r.Netns.Identity, r.Adopted = netns.Identity{Cookie: key.Cookie, Inode: key.Inode}, strings.HasSuffix(name, ":adopted.json")
		if got, err := r.FileName(); err != nil || got != name {
			t.Errorf("%q is the file of %+v, whose file is %q (%v)", name, r, got, err)
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
