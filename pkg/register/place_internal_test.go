// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package register

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestNetnsIsAPathAProcessIDOrAName(t *testing.T) {
	first, second, working := t.TempDir(), t.TempDir(), t.TempDir()
	for _, path := range []string{first + "/web", second + "/web", second + "/db", first + "/4711"} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(working)
	for _, tt := range []struct {
		arg  string
		want Place
		err  string
		code int
	}{
		{arg: "web", want: Place{Path: first + "/web"}},
		{arg: "db", want: Place{Path: second + "/db"}},
		{arg: "/run/docker/netns/x", want: Place{Path: "/run/docker/netns/x"}},
		{arg: "./web", want: Place{Path: working + "/web"}},
		{arg: "..", want: Place{Path: filepath.Dir(working)}},
		{arg: "42", want: Place{Path: "/proc/42/ns/net", PID: "42"}},
		{arg: "4711", err: "use /proc/4711/ns/net or " + first + "/4711", code: cmdline.Usage},
		{arg: "", err: "NETNS is empty", code: cmdline.Usage},
		{arg: "/proc/self/ns/net", err: "replace self by a process id", code: cmdline.Usage},
		{arg: "/proc/thread-self/ns/net", err: "replace thread-self by", code: cmdline.Usage},
		{arg: "../../../../../../proc/self/ns/net", err: "replace self by", code: cmdline.Usage},
		{arg: "nothing", err: fmt.Sprintf("no namespace %q in %s or %s", "nothing", first, second), code: cmdline.Failure},
		{arg: "a\x1b[2J", err: `"a\x1b[2J"`, code: cmdline.Failure},
	} {
		got, err := locate(tt.arg, []string{first, second})
		code := cmdline.ExitCode(err)
		if code != tt.code || err != nil && !strings.Contains(err.Error(), tt.err) || err == nil && got != tt.want {
			t.Errorf("%q: got %+v, %v (code %d), want %+v, %q (code %d)", tt.arg, got, err, code, tt.want, tt.err, tt.code)
		}
	}
}

func TestRegistrationsAreNamedAfterTheirPaths(t *testing.T) {
	for path, want := range map[string]string{
		"/run/netns/web":               "web",
		"/run/docker/netns/1a2b3c4d":   "1a2b3c4d",
		"/proc/4711/ns/net":            "pid-4711",
		"/proc/4711/task/4712/ns/net":  "pid-4711-task-4712",
		"/proc/4711/fd/7":              "pid-4711-fd-7",
		"/proc/net":                    "net",
		"/run/netns/über netns/@home":  "home",
		"/run/netns/naïve":             "na-ve",
		"/run/netns/\x1b[2J":           "2J",
		"/run/netns/...":               "",
		"/run/user/1000/netns/a_b.c-d": "a_b.c-d",
	} {
		if got := NameOf(path); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

func FuzzNameOf(f *testing.F) {
	f.Add("/run/netns/web")
	f.Add("/proc/1/ns/net")
	f.Fuzz(func(t *testing.T, path string) {
		name := NameOf(path)
		if len(name) == 0 || len(name) > 200 {
			return // needs --name
		}
		if err := state.ManualAttachment(name).CheckName(); err != nil {
			t.Errorf("%q is not a valid name: %v", name, err)
		}
	})
}

func TestNamespacesAreCompleted(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"web-1", "web-2", "db", "web\x1b[2J"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if names, files := completeName("web", []string{dir, dir, "/nowhere"}); files || !slices.Equal(names, []string{"web-1", "web-2"}) {
		t.Errorf("names are completed with %q", names)
	}
	if names, files := completeName("/run/n", []string{dir}); !files || len(names) > 0 {
		t.Errorf("a path is completed with %q", names)
	}
}
