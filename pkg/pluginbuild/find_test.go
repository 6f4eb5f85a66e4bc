// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package pluginbuild_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/pluginbuild"
)

// fakePlugin creates a plugin that reports a build.
func fakePlugin(t *testing.T, path string, info buildinfo.Info) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(answersVersion+`echo "`+info.PluginLine()+`" >&2; exit 2`), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestThePluginIsFoundWhereItIsBuiltOrPackaged(t *testing.T) {
	own := buildinfo.Info{Version: "v1.2.3", Commit: "abc", Go: "go1.26.8", Platform: "linux/amd64"}
	older := own
	older.Version = "v1.2.2"
	for _, tt := range []struct {
		name    string
		plugins map[string]buildinfo.Info
		want    string
		wantErr string
	}{
		{name: "built", plugins: map[string]buildinfo.Info{"bin/cni/halfclose": own}, want: "bin/cni/halfclose"},
		{name: "packaged", plugins: map[string]buildinfo.Info{"lib/halfclose/cni/halfclose": own}, want: "lib/halfclose/cni/halfclose"},
		{name: "both", plugins: map[string]buildinfo.Info{"bin/cni/halfclose": own, "lib/halfclose/cni/halfclose": older}, want: "bin/cni/halfclose"},
		{name: "none", wantErr: "bin/cni/halfclose nor "},
		{
			name: "of another build", plugins: map[string]buildinfo.Info{"bin/cni/halfclose": older},
			wantErr: "bin/cni/halfclose is v1.2.2 (commit abc), and this command is v1.2.3 (commit abc): install both of one build, or name it with --plugin",
		},
		{name: "of no build", plugins: map[string]buildinfo.Info{"bin/cni/halfclose": {}}, wantErr: "does not report its build"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for path, info := range tt.plugins {
				fakePlugin(t, filepath.Join(dir, path), info)
			}
			got, err := pluginbuild.Find(t.Context(), filepath.Join(dir, "bin/halfclose"), own.Build())
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) || !strings.Contains(err.Error(), "--plugin") {
					t.Errorf("got %v, want %q in it", err, tt.wantErr)
				}
				return
			}
			if err != nil || got != filepath.Join(dir, tt.want) {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
		})
	}
	t.Run("a file that is no program", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "bin/cni"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "bin/cni/halfclose"), []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := pluginbuild.Find(t.Context(), filepath.Join(dir, "bin/halfclose"), own.Build()); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("got %v", err)
		}
	})
}
