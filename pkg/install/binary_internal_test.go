// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	shipped "github.com/halfclose/halfclose/test/node"
)

func TestTheBinaryIsReplacedWhileItRuns(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	path := filepath.Join(n.config.BinDir, spec.PluginType)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(data))
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	running := exec.Command(path, "60")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = running.Process.Kill()
		_ = running.Wait()
	})
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); !errors.Is(err, unix.ETXTBSY) {
		f.Close()
		t.Fatalf("it can be written while it runs: %v", err)
	}
	if r := n.install(t); !r.Plugin.Changed || r.Plugin.Path != path {
		t.Errorf("got %+v", r)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "the program" || stat(t, path).Mode != unix.S_IFREG|0o755 {
		t.Errorf("got %q with mode %o, %v", got, stat(t, path).Mode, err)
	}
	if err := running.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("what ran does no more: %v", err)
	}
}

func TestABinaryThatIsTheSameIsNotWritten(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	path := filepath.Join(n.config.BinDir, spec.PluginType)
	n.install(t)
	before := stat(t, path)
	if r := n.install(t); r.Plugin.Changed || stat(t, path).Ino != before.Ino || stat(t, path).Mtim != before.Mtim {
		t.Errorf("got %+v", r)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := n.install(t); !r.Plugin.Changed || !n.runnable(t) {
		t.Errorf("one that cannot be executed: %+v", r)
	}
	write(t, path, "the prograM")
	if r := n.install(t); !r.Plugin.Changed {
		t.Errorf("one that differs in a letter: %+v", r)
	}
}

// TestTheInstalledProgramIsThePlugin installs the real one, from itself, and asks it for its versions.
func TestTheInstalledProgramIsThePlugin(t *testing.T) {
	t.Parallel()
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	built := t.TempDir()
	if err := shipped.Build("../..", built); err != nil {
		t.Fatal(err)
	}
	n.config.Plugin = filepath.Join(built, "cni/halfclose")
	if other, err := CheckPlugin(t.Context(), n.config.Plugin, buildinfo.Get().Build()); err != nil || other != "" {
		t.Errorf("a plugin that is built as this is differs: %q, %v", other, err)
	}
	n.install(t)
	plugin := exec.Command(filepath.Join(n.config.BinDir, "halfclose"))
	plugin.Env = []string{"CNI_COMMAND=VERSION"}
	plugin.Stdin = strings.NewReader(`{"cniVersion":"1.0.0"}`)
	out, err := plugin.Output()
	if err != nil {
		t.Fatal(err)
	}
	var says struct{ SupportedVersions []string }
	if err := json.Unmarshal(out, &says); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(spec.Versions(), says.SupportedVersions); diff != "" {
		t.Errorf("versions that are taken and those that the plugin speaks (-want +got)\n%s", diff)
	}
}
