// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package pluginbuild_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/pluginbuild"
)

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

const answersVersion = `#!/bin/sh
if [ "$CNI_COMMAND" = VERSION ]; then
  echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0"]}'
  exit
fi
`

func TestAPluginReportsItsVersionsAndItsBuild(t *testing.T) {
	want := buildinfo.Info{Version: "v1.2.3", Commit: "abc", Go: "go1.26.8", Platform: "linux/amd64"}
	for name, tt := range map[string]struct {
		text string
		info buildinfo.Info
	}{
		"ours":            {answersVersion + `echo "` + want.PluginLine() + `" >&2; exit 2`, want},
		"another one":     {answersVersion + `echo "CNI bridge plugin v1.6.0" >&2`, buildinfo.Info{}},
		"one that fails":  {answersVersion + `kill -9 $$`, buildinfo.Info{}},
		"an older binary": {answersVersion + `echo "Usage: halfclose [command]"`, buildinfo.Info{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pluginbuild.Ask(t.Context(), script(t, tt.text))
			if err != nil || got.Info != tt.info || !slices.Equal(got.SpecVersions, []string{"0.4.0", "1.0.0"}) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestWhatAnswersNoVersionIsAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		text    string
		wantErr string
	}{
		"another program":        {"#!/bin/sh\necho hello\n", `answers "hello": it is no CNI plugin`},
		"an object without any":  {"#!/bin/sh\necho '{}'\n", "it is no CNI plugin"},
		"a program that fails":   {"#!/bin/sh\necho no network >&2; exit 3\n", "exit status 3: no network"},
		"of another machine":     {"\x7fELF text", "it is not built for this machine (linux/"},
		"a program without end":  {"#!/bin/sh\nyes\n", "signal: killed"},
		"one that needs a shell": {"#!/none/sh\n", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if strings.HasSuffix(name, "without end") {
				cancelled, cancel := context.WithCancel(ctx)
				cancel()
				ctx, tt.wantErr = cancelled, "context canceled"
			}
			_, err := pluginbuild.Ask(ctx, script(t, tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got %v, want %q in it", err, tt.wantErr)
			}
		})
	}
	if _, err := pluginbuild.Ask(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("none: got %v", err)
	}
}
