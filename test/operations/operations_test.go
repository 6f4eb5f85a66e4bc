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

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/test/node"
)

// top is the repository.
const top = "../.."

// onNode is nil if the tests run on a node of their own, and otherwise says why not.
var onNode error // set once, before the tests run

func TestMain(m *testing.M) {
	os.Exit(node.Suite{Name: "operations", Top: top}.Run(func(err error) int {
		onNode = err
		return m.Run()
	}))
}

// patience is how long a command that only looks may take to show what it should.
const patience = 45 * time.Second

// looks reports whether a command only looks, so that it may be repeated until it shows what the document
// says: the reader is told to wait for it.
func looks(command string) bool {
	for _, verb := range []string{"status", "sockets", "history", "doctor", "top --once"} {
		if strings.HasPrefix(command, "halfclose "+verb) {
			return true
		}
	}
	return false
}

// TestOperationsRunAsPrinted follows docs/operations.md from the first command to the last.
func TestOperationsRunAsPrinted(t *testing.T) {
	if onNode != nil {
		nstest.NeedPrivilege(t, "make a node to test on", onNode)
	}
	text, err := os.ReadFile(filepath.Join(top, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := Sessions(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) < 10 {
		t.Fatalf("there are only %d commands", len(steps))
	}
	cover(t, "/etc", "/usr/local", "/opt")
	s := newShell(t, clone(t))
	for _, step := range steps {
		began := time.Now()
		for {
			out, code, err := s.run(step.Command)
			if err == nil && code == 0 && Match(step.Output, out) {
				break
			}
			if err != nil || !looks(step.Command) || time.Since(began) > patience {
				t.Fatalf("docs/operations.md:%d: $ %s\n--- the document says\n%s\n--- it prints (exit code %d, %v)\n%s",
					step.Line, step.Command, strings.Join(step.Output, "\n"), code, err, strings.Join(out, "\n"))
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// cover mounts a layer over directories of the host, so that what is written there goes with the node.
func cover(t *testing.T, dirs ...string) {
	t.Helper()
	layers := t.TempDir() // on the node's own /run
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

// clone returns a copy of the repository as it is, without what was built.
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
