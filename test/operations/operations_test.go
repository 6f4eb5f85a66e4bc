// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/node"
)

// top is the directory of the repository.
const top = "../.."

func TestMain(m *testing.M) {
	os.Exit(node.Suite{Name: "operations", Top: top}.Run(m.Run))
}

// rereadTimeout bounds the time for which a query command is repeated until it prints the output on the page.
const rereadTimeout = 45 * time.Second

// pages are the operator's pages. Each has console blocks, or other tests that run its commands.
var pages = []string{"operate.md", "install.md", "kubernetes.md", "alerts.md"}

// isQuery reports whether a command changes nothing, so that the test may repeat it as a reader would.
func isQuery(command string) bool {
	for _, verb := range []string{"status", "sockets", "history", "leaks", "explain", "policy", "doctor", "top --once"} {
		if strings.HasPrefix(command, "halfclose "+verb) {
			return true
		}
	}
	return false
}

// TestConsoleBlocksRunAsPrinted runs each page from its first command to its last.
func TestConsoleBlocksRunAsPrinted(t *testing.T) {
	node.Need(t)
	total := 0
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(top, "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		steps, err := Sessions(string(text))
		if err != nil {
			t.Fatalf("docs/%s: %v", page, err)
		}
		total += len(steps)
		if len(steps) > 0 {
			t.Run(page, func(t *testing.T) { runSteps(t, page, steps) })
		}
	}
	if total < 30 {
		t.Errorf("the pages have %d commands, want at least 30", total)
	}
}

// runSteps runs the commands of one page in one shell.
func runSteps(t *testing.T, page string, steps []Step) {
	cover(t, "/etc", "/usr/local", "/opt")
	furnishNetwork(t)
	s := newShell(t, clone(t))
	for _, step := range steps {
		began := time.Now()
		for {
			out, code, err := s.run(step.Command)
			if err == nil && code == 0 && Match(step.Output, out) {
				break
			}
			if err != nil || !isQuery(step.Command) || time.Since(began) > rereadTimeout {
				t.Fatalf("docs/%s:%d: $ %s\n--- on the page\n%s\n--- printed (exit code %d, %v)\n%s",
					page, step.Line, step.Command, strings.Join(step.Output, "\n"), code, err, strings.Join(out, "\n"))
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// furnishNetwork gives the node the network that a network plugin would have configured.
func furnishNetwork(t *testing.T) {
	t.Helper()
	const conflist = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge"
    }
  ]
}
`
	for dir, file := range map[string]struct {
		name, content string
		mode          os.FileMode
	}{
		"/etc/cni/net.d": {"10-pods.conflist", conflist, 0o644},
		"/opt/cni/bin":   {"bridge", "#!/bin/sh\nexit 1\n", 0o755},
	} {
		err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file.name), []byte(file.content), file.mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// cover mounts an overlay on directories of the host, so that files that are written there disappear with the test.
func cover(t *testing.T, dirs ...string) {
	t.Helper()
	layers := t.TempDir() // on the node's /run
	for _, dir := range dirs {
		upper, work := filepath.Join(layers, filepath.Base(dir), "upper"), filepath.Join(layers, filepath.Base(dir), "work")
		err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755))
		if err == nil {
			err = unix.Mount("overlay", dir, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work))
		}
		if err != nil {
			t.Fatalf("cover %s: %v", dir, err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Errorf("uncover %s: %v", dir, err)
			}
		})
	}
}

// clone returns a copy of the working tree without build results.
func clone(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "halfclose")
	if err := os.CopyFS(dir, sources{os.DirFS(top).(fs.ReadLinkFS)}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSourcesAreNoted(t *testing.T) {
	if err := node.NoteSources(top, "pkg", "cmd", "plugins", "docs"); err != nil {
		t.Error(err)
	}
}
