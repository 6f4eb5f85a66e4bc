// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestAnAbsentDirectoryIsAnEmptyListing(t *testing.T) {
	s := newStore(t)
	if diff := compare(state.Listing{}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(s.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("List made the directory (%v)", err)
	}
}

func TestListingsAreSorted(t *testing.T) {
	s := newStore(t)
	// As file names "a-1@..." comes before "a@..."; as container IDs it is the other way round.
	want := []state.Record{record(t, "a", "eth0"), record(t, "a", "eth1"), record(t, "a-1", "eth0"), record(t, "b", "eth0")}
	put(t, s, want[3], want[2], want[1], want[0])
	plant(t, s, "z", "")
	plant(t, s, "y", "")
	l := list(t, s)
	if diff := compare(want, l.Records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if len(l.Problems) != 2 || l.Problems[0].File != "y" || l.Problems[1].File != "z" {
		t.Errorf("problems %v, want those of y and z", l.Problems)
	}
}

// No planted file may be fatal.
func TestAFileThatIsNoRecordIsAProblemAndNeverFatal(t *testing.T) {
	s := newStore(t)
	good := record(t, "good", "eth0")
	put(t, s, good)
	text := content(t, s, good.Attachment)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	as := func(id string) string { return edit(t, text, `"good"`, `"`+id+`"`) }
	cases := []struct {
		file string
		make func(path string) error
		want error
		text string // of the error
	}{
		{file("empty@eth0"), write(""), state.ErrInvalid, "end of JSON"},
		{file("zeroes@eth0"), write(strings.Repeat("\x00", 4096)), state.ErrInvalid, "invalid character"},
		{file("half@eth0"), write(as("half")[:len(text)/2]), state.ErrInvalid, "end of JSON"},
		{file("trailing@eth0"), write(as("trailing") + "{}"), state.ErrInvalid, "after top-level"},
		{file("null@eth0"), write("null"), state.ErrInvalid, "version 0"},
		{file("list@eth0"), write("[]"), state.ErrInvalid, "array"},
		{file("newer@eth0"), write(`{"version":3,"policy":["of another shape"]}`), state.ErrNewer, "version 3"},
		{file("older@eth0"), write(edit(t, as("older"), `"version": 2`, `"version": 1`)), state.ErrInvalid, "version 1, this one reads 2"},
		{file("other@eth0"), write(text), state.ErrInvalid, "content of good, interface eth0"},
		{file("good@eth1"), write(text), state.ErrInvalid, "content of good, interface eth0"},
		{file("evil@eth0"), write(as(`\u001b[2J`)), state.ErrInvalid, `content of "\x1b[2J"`},
		{file("mode@eth0"), write(edit(t, as("mode"), `"destroy"`, `"annihilate"`)), state.ErrInvalid, "annihilate"},
		{file("grace@eth0"), write(edit(t, as("grace"), `"10m"`, `"-10m"`)), state.ErrInvalid, "finWait2Grace"},
		{file("key@eth0"), write(edit(t, as("key"), `"finWait2Grace"`, `"later"`)), state.ErrInvalid, "later"},
		{file("overrides@eth0"), write(edit(t, as("overrides"), `"any"`, `"some"`)), state.ErrInvalid, "podOverrides"},
		{file("nooverrides@eth0"), write(edit(t, as("nooverrides"), `"podOverrides"`, `"_"`)), state.ErrInvalid, "podOverrides"},
		{file("nonetworklayer@eth0"), write(edit(t, as("nonetworklayer"), `"network": {`, `"_": {`)), state.ErrInvalid, "network"},
		{file("annotation@eth0"), write(edit(t, as("annotation"), `"soon"`, `7`)), state.ErrInvalid, "annotations"},
		{file("nolayers@eth0"), write(edit(t, as("nolayers"), `"layers"`, `"players"`)), state.ErrInvalid, "no policy layers"},
		{file("nulllayers@eth0"), write(edit(t, as("nulllayers"), `"layers": {`, `"layers": null, "_": {`)), state.ErrInvalid, "layers"},
		{file("noboot@eth0"), write(edit(t, as("noboot"), `"boot"`, `"shoe"`)), state.ErrInvalid, "boot"},
		{file("nonetns@eth0"), write(edit(t, as("nonetns"), `"netns"`, `"notns"`)), state.ErrInvalid, "netns"},
		{file("cookie@eth0"), write(edit(t, as("cookie"), `"cookie": 9`, `"cookie": -9`)), state.ErrInvalid, "cookie"},
		{file("othercookie@eth0"), write(edit(t, as("othercookie"), `"cookie": 9`, `"cookie": 8`)), state.ErrInvalid, "the file's name has netns 8000000000000001-f00001e1"},
		{file("otherinode@eth0"), write(edit(t, as("otherinode"), `"inode": 4026532321`, `"inode": 4026532322`)), state.ErrInvalid, "its content 8000000000000001-f00001e2"},
		{"nonetnsinname@eth0.json", write(as("nonetnsinname")), state.ErrInvalid, "file name"},
		{file("nocookie@eth0"), write(edit(t, as("nocookie"), `"cookie"`, `"biscuit"`)), state.ErrInvalid, "no netns cookie"},
		{file("nullcookie@eth0"), write(edit(t, as("nullcookie"), `9223372036854775809`, `null`)), state.ErrInvalid, "no netns cookie"},
		{file("nonetwork@eth0"), write(edit(t, as("nonetwork"), `"network"`, `"notwork"`)), state.ErrInvalid, "no network"},
		{file("relative@eth0"), write(edit(t, as("relative"), `"/run/netns/cni-1"`, `"run/netns/cni-1"`)), state.ErrInvalid, "not absolute"},
		{file("huge@eth0"), func(path string) error {
			return errors.Join(write("")(path), os.Truncate(path, 1<<40))
		}, state.ErrInvalid, "larger than 786432 bytes"},
		{file("dir@eth0"), func(path string) error { return os.Mkdir(path, 0o700) }, state.ErrInvalid, "regular"},
		{file("link@eth0"), func(path string) error { return os.Symlink(outside, path) }, state.ErrInvalid, "regular"},
		{file("near@eth0"), func(path string) error { return os.Symlink(file("good@eth0"), path) }, state.ErrInvalid, "regular"},
		{file("fifo@eth0"), func(path string) error { return unix.Mkfifo(path, 0o600) }, state.ErrInvalid, "regular"},
		{"README", write("hello"), state.ErrInvalid, "file name"},
		{file("c@eth0") + "~", write(text), state.ErrInvalid, "file name"},
		{"." + file("c@eth0"), write(text), state.ErrInvalid, "file name"},
		{"c@\x1b[2J.json", write(text), state.ErrInvalid, "file name"},
	}
	for _, tc := range cases {
		if err := tc.make(plantPath(t, s, tc.file)); err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, s)
	l := list(t, s)
	if diff := compare([]state.Record{good}, l.Records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	problems := make(map[string]state.Problem)
	for _, p := range l.Problems {
		problems[p.File] = p
	}
	if len(problems) != len(cases) {
		t.Errorf("%d problems, want %d", len(problems), len(cases))
	}
	holds := make(map[string]state.NetnsKey)
	for _, tc := range cases {
		p := problems[tc.file]
		if !errors.Is(p.Err, tc.want) || !strings.Contains(p.Err.Error(), tc.text) || strings.Contains(p.Err.Error(), "\x1b") {
			t.Errorf("%q: problem %v, want %v and %q in it", tc.file, p.Err, tc.want, tc.text)
		}
		if p.OtherBoot || p.ModTime.IsZero() {
			t.Errorf("%q: of another boot: %v, last written %v, want this boot, just now", tc.file, p.OtherBoot, p.ModTime)
		}
		a, key, err := state.ParseFileName(tc.file)
		if err != nil {
			continue // it holds nothing
		}
		holds[tc.file] = key
		if _, err := s.Get(a); !errors.Is(err, tc.want) {
			t.Errorf("Get of %v: %v, want %v", a, err, tc.want)
		}
	}
	for _, h := range l.Holds {
		if h.Netns != holds[h.File] || h.Reason != problems[h.File].Err.Error() {
			t.Errorf("%+v, want netns %v because of %v", h, holds[h.File], problems[h.File].Err)
		}
		delete(holds, h.File)
	}
	if len(holds) > 0 {
		t.Errorf("nothing is held for %v", holds)
	}
	if diff := compare(before, names(t, s)); diff != "" {
		t.Errorf("reading changed the directory (-want +got):\n%s", diff)
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	s := newStore(t)
	r := record(t, "c", "eth0")
	put(t, s, r)
	text := content(t, s, r.Attachment)
	text = edit(t, text, `"network"`, `"later": {"a": [1]}, "network"`)
	text = edit(t, text, `"dev"`, `"later": null, "dev"`)
	plant(t, s, file("c@eth0"), text)
	if diff := compare(state.Listing{Records: []state.Record{r}}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func TestARecordOfAnotherBootIsListedAndInert(t *testing.T) {
	s := newStore(t)
	ours, theirs := record(t, "ours", "eth0"), record(t, "theirs", "eth0")
	theirs.Boot = "another"
	put(t, s, ours, theirs)
	l := list(t, s)
	if diff := compare(state.Listing{Records: []state.Record{ours, theirs}}, l); diff != "" {
		t.Fatalf("List (-want +got):\n%s", diff)
	}
	if boot := bootID(t); l.Records[0].Inert(boot) || !l.Records[1].Inert(boot) {
		t.Error("want the record of another boot inert, and the one of this boot not")
	}
}

func TestProblemsOfAnotherBoot(t *testing.T) {
	this := `{"version":2,"boot":"` + bootID(t) + `"`
	const longAgo = 200 * 365 * 24 * time.Hour
	held := file("c@eth0")
	for _, tc := range []struct {
		name, file, text string
		age              time.Duration
		want             bool // of another boot
		held             bool // a netns is
	}{
		{"one that says that it is, however new", held, `{"version":2,"boot":"another"}`, 0, true, true},
		{"the beginning of one that says that it is", held, `{"version":2,"netns":{"boot":"x"},"boot":"another","pod":{"na`, 0, true, true},
		{"one that says that it is not, however old", held, this + `}`, longAgo, false, true},
		{"the beginning of one that says that it is not", held, this + `,"pod":`, longAgo, false, true},
		{"an empty one of no netns that was written before this boot", "c@eth0.json", "", longAgo, true, false},
		{"one of no netns and no boot that was written before this boot", "c@eth0.json", `{"version":2,"boot":7}`, longAgo, true, false},
		{"an empty one of no netns that was written in this boot", "c@eth0.json", "", 0, false, false},
		{"one without a boot that was written in this boot", held, `["boot","another"]`, 0, false, true},
		{"one that breaks off before its boot", held, `{"version":2,"boo`, 0, false, true},
		{"an empty one of a netns, by a clock that has been set forward since", held, "", longAgo, false, true},
		{"one without a boot, by such a clock", held, `{"version":2,"boot":7}`, longAgo, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStore(t)
			age(t, plant(t, s, tc.file, tc.text), tc.age)
			l := list(t, s)
			if len(l.Problems) != 1 || l.Problems[0].OtherBoot != tc.want {
				t.Errorf("problems %+v, want one, of another boot: %v", l.Problems, tc.want)
			}
			if holds := len(l.Holds) == 1; holds != tc.held || holds && l.Holds[0].OtherBoot != tc.want {
				t.Errorf("holds %+v, want one: %v, of another boot: %v", l.Holds, tc.held, tc.want)
			}
		})
	}
}

func TestAFileOfAnotherBootHoldsTheNetnsThatMatchesBothNumbers(t *testing.T) {
	for _, tc := range []struct {
		name      string
		otherBoot bool
		id        netns.Identity
		want      bool
	}{
		{"both numbers, of this boot", false, netns.Identity{Cookie: 7, Inode: 9}, true},
		{"both numbers, as if of another boot", true, netns.Identity{Cookie: 7, Inode: 9}, true},
		{"its cookie, of this boot", false, netns.Identity{Cookie: 7, Inode: 8}, true},
		{"its cookie, as if of another boot", true, netns.Identity{Cookie: 7, Inode: 8}, false},
		{"its inode number, as if of another boot", true, netns.Identity{Cookie: 8, Inode: 9}, false},
		{"its inode number and no cookie, as if of another boot", true, netns.Identity{Inode: 9}, false},
		{"another netns, of this boot", false, netns.Identity{Cookie: 8, Inode: 9}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := state.Hold{Netns: state.NetnsKey{Cookie: 7, Inode: 9}, OtherBoot: tc.otherBoot}
			if got := h.Names(tc.id); got != tc.want {
				t.Errorf("held: %v, want %v", got, tc.want)
			}
		})
	}
}

func TestADirectoryIsNotPruned(t *testing.T) {
	s := newStore(t)
	dir := plantPath(t, s, file("c@eth0"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	age(t, dir, 200*365*24*time.Hour)
	if l := list(t, s); len(l.Problems) != 1 || l.Problems[0].OtherBoot {
		t.Errorf("problems %+v, want one that is not of another boot", l.Problems)
	}
}
