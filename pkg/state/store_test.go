// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	s := newStore(t)
	full := record(t, "0a1b2c", "eth0")
	full.Layers = policy.Layers{
		Network: layer(t, `{"mode": "destroy", "grace": "never", "finWait2Grace": "10m", "probeAfter": "30s", "probeCount": 3,
			"probeInterval": "5s", "pendingGrace": "3h", "clock": "state", "exempt": [{"peers": "10.0.0.0/8"}],
			"rules": [{"match": {"role": "client", "peerPorts": "443"}, "grace": "2m", "above": 100}]}`),
		Annotations:  map[string]string{policy.AnnotationMode: "Observe", "halfclose.cni/graec": ""},
		PodOverrides: policy.OverridesRelax,
		Observe:      "wrong configuration",
	}
	bare := record(t, "d", "net1")
	bare.Pod, bare.Warnings, bare.Layers = state.Pod{}, nil, policy.Layers{Network: layer(t, "{}")}
	bare.Netns.Cookie = 0 // of a kernel that has none
	for _, want := range []state.Record{full, bare} {
		in := want
		in.Version = 0 // Put knows better
		put(t, s, in)
		got, err := s.Get(want.Attachment)
		if err != nil {
			t.Fatal(err)
		}
		if diff := compare(want, got); diff != "" {
			t.Errorf("Get (-want +got):\n%s", diff)
		}
	}
	if diff := compare(state.Listing{Records: []state.Record{full, bare}}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func TestTheFileHasTheDocumentedFormat(t *testing.T) {
	s := newStore(t)
	r := record(t, "0a1b2c", "eth0")
	r.Boot = "6e1f"
	put(t, s, r)
	want := `{
  "version": 2,
  "network": "pods",
  "containerID": "0a1b2c",
  "ifname": "eth0",
  "boot": "6e1f",
  "netns": {
    "path": "/run/netns/cni-1",
    "cookie": 9223372036854775809,
    "dev": 4,
    "inode": 4026532321
  },
  "pod": {
    "namespace": "shop",
    "name": "cart-0",
    "uid": "8a52"
  },
  "layers": {
    "network": {
      "mode": "destroy",
      "finWait2Grace": "10m"
    },
    "annotations": {
      "halfclose.cni/grace": "soon"
    },
    "podOverrides": "any"
  },
  "warnings": [
    "annotation halfclose.cni/grace: \"soon\" is no grace"
  ],
  "time": "2026-03-01T12:00:00.000000007Z"
}
`
	if diff := compare(want, content(t, s, r.Attachment)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	if diff := compare([]string{file("0a1b2c@eth0")}, names(t, s)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestPutAgainReplaces(t *testing.T) {
	s := newStore(t)
	r := record(t, "c", "eth0")
	put(t, s, r)
	first := content(t, s, r.Attachment)
	put(t, s, r)
	if diff := compare(first, content(t, s, r.Attachment)); diff != "" {
		t.Errorf("the same record a second time (-want +got):\n%s", diff)
	}
	r.Warnings, r.Time = nil, r.Time.Add(time.Second)
	put(t, s, r)
	if diff := compare(state.Listing{Records: []state.Record{r}}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func TestPutReplacesAFileThatIsNoRecord(t *testing.T) {
	s := newStore(t)
	r := record(t, "c", "eth0")
	plant(t, s, file("c@eth0"), `{"version": 99`)
	put(t, s, r)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := record(t, "d", "eth0")
	if err := os.Symlink(outside, plantPath(t, s, file("d@eth0"))); err != nil {
		t.Fatal(err)
	}
	put(t, s, other)
	if diff := compare(state.Listing{Records: []state.Record{r, other}}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if data, err := os.ReadFile(outside); err != nil || string(data) != "precious" {
		t.Errorf("the target of a link is %q (%v) now, want it untouched", data, err)
	}
}

func TestAnInvalidRecordIsNotWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*state.Record)
		text   string // of the error
	}{
		"without a boot id":                      {func(r *state.Record) { r.Boot = "" }, "boot"},
		"without a network":                      {func(r *state.Record) { r.Network = "" }, "network"},
		"with a relative path":                   {func(r *state.Record) { r.Netns.Path = "run/netns/a" }, "absolute"},
		"without a netns path":                   {func(r *state.Record) { r.Netns.Path = "" }, "path"},
		"without a netns inode":                  {func(r *state.Record) { r.Netns.Inode = 0 }, "inode"},
		"with podOverrides of none of the kinds": {func(r *state.Record) { r.Layers.PodOverrides = 99 }, "podOverrides"},
		"with a bad container":                   {func(r *state.Record) { r.ContainerID = "../c" }, "containerID"},
		"too large to read back":                 {func(r *state.Record) { r.Warnings = []string{strings.Repeat("w", state.MaxFileSize)} }, "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			r := record(t, "c", "eth0")
			tc.change(&r)
			if err := s.Put(r); err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("Put = %v, want an error with %q", err, tc.text)
			}
			if got := names(t, s); len(got) > 0 {
				t.Errorf("there is %q now", got)
			}
		})
	}
}

func TestDelete(t *testing.T) {
	s := newStore(t)
	gone, stays := record(t, "c", "eth0"), record(t, "c", "eth1")
	if err := s.Delete(gone.Attachment); err != nil {
		t.Errorf("without a directory: %v", err)
	}
	put(t, s, gone, stays)
	for _, when := range []string{"the first time", "a second time"} {
		if err := s.Delete(gone.Attachment); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if _, err := s.Get(gone.Attachment); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: Get = %v, want fs.ErrNotExist", when, err)
		}
	}
	if diff := compare(state.Listing{Records: []state.Record{stays}}, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func TestDeleteNeedsOnlyTheName(t *testing.T) {
	s := newStore(t)
	plant(t, s, file("half@eth0"), `{"version":`)
	plant(t, s, file("newer@eth0"), `{"version":2}`)
	plant(t, s, file("empty@eth0"), "")
	outside := plant(t, state.New(t.TempDir()), "outside", "precious")
	for name, make := range map[string]func(string) error{
		file("dir@eth0"):  func(path string) error { return os.Mkdir(path, 0o700) },
		file("link@eth0"): func(path string) error { return os.Symlink(outside, path) },
		file("fifo@eth0"): func(path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		if err := make(plantPath(t, s, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"half", "newer", "empty", "dir", "link", "fifo"} {
		if err := s.Delete(state.Attachment{ContainerID: id, IfName: "eth0"}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if got := names(t, s); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("the target of a link: %v", err)
	}
}

func TestNoFileOutsideOfTheDirectoryIsReached(t *testing.T) {
	s := newStore(t)
	put(t, s, record(t, "c", "eth0"))
	outside := filepath.Join(s.Dir(), file("x@eth0"))
	if err := os.WriteFile(outside, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, a := range []state.Attachment{
		{ContainerID: "../x", IfName: "eth0"},
		{ContainerID: "..", IfName: "eth0"},
		{ContainerID: "", IfName: "eth0"},
		{ContainerID: "a/../../x", IfName: "eth0"},
		{ContainerID: "x\x00", IfName: "eth0"},
		{ContainerID: "c", IfName: ""},
		{ContainerID: "c", IfName: ".."},
		{ContainerID: "c", IfName: "a/b"},
		{ContainerID: "c", IfName: "sixteen-letters_"},
		{ContainerID: "c", IfName: "a b"},
		{ContainerID: "c", IfName: "a\x1bb"},
		{ContainerID: "c", IfName: "a\xffb"},
		{ContainerID: strings.Repeat("c", 300), IfName: "eth0"},
	} {
		r := record(t, "c", "eth0")
		r.Attachment = a
		_, getErr := s.Get(a)
		for verb, err := range map[string]error{"Put": s.Put(r), "Get": getErr, "Delete": s.Delete(a)} {
			if err == nil || errors.Is(err, fs.ErrNotExist) || strings.ContainsAny(err.Error(), "\x1b\x00") || !utf8.ValidString(err.Error()) {
				t.Errorf("%s of %+q = %v, want an error that names what is wrong", verb, a, err)
			}
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
	if diff := compare([]string{file("c@eth0")}, names(t, s)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}
