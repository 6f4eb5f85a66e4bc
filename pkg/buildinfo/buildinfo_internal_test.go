// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package buildinfo

import (
	"encoding/json"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestGet(t *testing.T) {
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: modified}}
	}
	for _, tt := range []struct {
		name            string
		version, commit string
		bi              debug.BuildInfo
		want            Info
	}{
		{
			name: "the stamp wins", version: "v1.0.0", commit: "123",
			bi:   debug.BuildInfo{Main: debug.Module{Version: "v0.9.0"}, Settings: vcs("false")},
			want: Info{Version: "v1.0.0", Commit: "123"},
		},
		{
			name: "without a stamp the toolchain's record counts",
			bi:   debug.BuildInfo{Main: debug.Module{Version: "v0.9.0"}, Settings: vcs("false")},
			want: Info{Version: "v0.9.0", Commit: "abc"},
		},
		{
			name: "a changed tree is dirty",
			bi:   debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: vcs("true")},
			want: Info{Version: "devel", Commit: "abc-dirty"},
		},
		{
			name: "nothing known is said, not left empty",
			want: Info{Version: "devel", Commit: "unknown"},
		},
		{
			name: "an unknown commit is not dirty",
			bi:   debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}}},
			want: Info{Version: "devel", Commit: "unknown"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Go = runtime.Version()
			tt.want.Platform = runtime.GOOS + "/" + runtime.GOARCH
			if got := get(tt.version, tt.commit, &tt.bi); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestEveryFieldOfThisBinaryIsSet(t *testing.T) {
	b, err := json.Marshal(Get())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"version", "commit", "go", "platform"} {
		if got[key] == "" {
			t.Errorf("%s is empty in %s", key, b)
		}
	}
}

func TestString(t *testing.T) {
	got := Info{Version: "v1.0.0", Commit: "abc", Go: "go1.26", Platform: "linux/arm64"}.String()
	if want := "halfclose v1.0.0 (commit abc, go1.26, linux/arm64)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheLineOfThePluginIsReadBack(t *testing.T) {
	want := Info{Version: "v1.2.3-4-gabc", Commit: "0123abc-dirty", Go: "go1.26.8", Platform: "linux/arm64"}
	for _, text := range []string{want.PluginLine(), want.PluginLine() + "\nmore", "before\n" + want.PluginLine() + "\r\n"} {
		if got, ok := ParsePlugin(text); !ok || got != want {
			t.Errorf("%q: got %+v, %v", text, got, ok)
		}
	}
	for _, text := range []string{
		"", want.String(), "CNI plugin bridge v1.2.3 (commit a, go1, linux/amd64)", "CNI plugin halfclose ", "CNI plugin halfclose v1 (commit a, go1)",
		"CNI plugin halfclose v1 (commit a, go1, linux/amd64", "CNI bridge plugin v1.6.0",
	} {
		if got, ok := ParsePlugin(text); ok {
			t.Errorf("%q: got %+v, want none", text, got)
		}
	}
}

func TestBuildsOfOneVersionAndCommitAreTheSame(t *testing.T) {
	a := Info{Version: "v1", Commit: "c", Go: "go1.26.8", Platform: "linux/amd64"}
	b := Info{Version: "v1", Commit: "c", Go: "go1.26.9", Platform: "linux/arm64"}
	if a.Build() != b.Build() || a.Build() == (Info{Version: "v1", Commit: "d"}).Build() {
		t.Error("builds are not compared by version and commit")
	}
}
