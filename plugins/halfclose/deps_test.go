// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/golden"
)

// maxSize bounds the plugin's size in bytes, as the Makefile builds it. Each page of it that a start touches is a page
// fault of each ADD.
const maxSize = 3_600_000

// depsOf lists the packages that the plugin links, those of modules and those of the standard library.
func depsOf(t *testing.T) (modules, std []string) {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the packages that the plugin links: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		path, standard, _ := strings.Cut(strings.TrimSpace(line), " ")
		if standard == "true" {
			std = append(std, path)
		} else {
			modules = append(modules, path)
		}
	}
	slices.Sort(modules)
	return modules, std
}

func TestThePluginLinksWhatItIsKnownToLink(t *testing.T) {
	modules, std := depsOf(t)
	if golden.Text(t, "deps", strings.Join(modules, "\n")+"\n"); t.Failed() {
		t.Log("each ADD pays for what the plugin links: after -update, measure with make bench")
	}
	for _, module := range []string{
		"github.com/spf13/", "github.com/cilium/ebpf", "github.com/prometheus/", "gopkg.in/natefinch/lumberjack", "go.yaml.in/", "gopkg.in/yaml",
		"github.com/tailscale/hujson", "github.com/fsnotify/", "github.com/halfclose/halfclose/pkg/reaper", "github.com/halfclose/halfclose/pkg/cli",
	} {
		if i := slices.IndexFunc(modules, func(p string) bool { return strings.HasPrefix(p, module) }); i >= 0 {
			t.Errorf("it links %s, which is for the command", modules[i])
		}
	}
	for _, pkg := range []string{
		"net/http", "crypto/tls", "compress/flate", "compress/gzip", "encoding/xml", "html/template", "log/slog", "log/syslog", "os/exec", "text/template", "testing",
	} {
		if slices.Contains(std, pkg) {
			t.Errorf("it links %s of the standard library, which is for the command", pkg)
		}
	}
}

// The make target uses the same flags, and stamps version and commit.
func TestThePluginIsSmall(t *testing.T) {
	to := filepath.Join(t.TempDir(), "halfclose")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", to, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	info, err := os.Stat(to)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxSize {
		t.Errorf("it has %d bytes, and %d are the most: see what it links with go list -deps, and what that weighs with go tool nm -size -sort size", info.Size(), maxSize)
	}
	t.Logf("the plugin has %d bytes", info.Size())
}
