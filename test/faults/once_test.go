// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
)

// onceBoundary is a boundary of a program that runs once.
type onceBoundary struct {
	boundary

	calls []uintptr
	where func(w *paths) func(*inject.Call) bool // nil: all of the calls
	times int                                    // the fault ends after this number of calls; 0: it lasts
	// succeeds is set if the program does all of its work although the fault lasts.
	succeeds bool
	message  string // of the program; "": none
}

// reported is where the fault is reported.
func (b onceBoundary) reported() string {
	if b.message == "" {
		return nowhere
	}
	return "its output `" + b.message + "`"
}

// paths are the files that a program works on.
type paths struct {
	state, netns, conf, bin string
}

// result is what a program that has exited has left.
type result struct {
	code           int
	stdout, stderr string
	hits           int
}

// runOnce runs a program with a fault until it exits.
func (b onceBoundary) runOnce(t *testing.T, cmd *exec.Cmd, w *paths, effect inject.Effect) result {
	t.Helper()
	fault := inject.Fault{Calls: b.calls, Effect: effect, Times: b.times}
	if b.where != nil {
		fault.Where = b.where(w)
	}
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	var s *inject.Supervisor
	var injected *inject.Injected
	p := testnode.StartBy(t, cmd, func() (err error) {
		if s, err = inject.Start(cmd, b.calls); err == nil {
			injected = s.Inject(fault)
		}
		return err
	})
	code := p.Wait()
	if err := s.Err(); err != nil {
		t.Error(err)
	}
	r := result{code, stdout.String(), p.Output(), injected.Hits()}
	if r.hits == 0 {
		t.Errorf("the fault had no effect; the output:\n%s%s", r.stdout, r.stderr)
	}
	if text := r.stdout + r.stderr; b.message != "" && !strings.Contains(text, b.message) {
		t.Errorf("the output has no %q:\n%s", b.message, text)
	}
	return r
}

// temporary returns the temporary files of halfclose below the directories.
func temporary(t *testing.T, dirs ...string) (found []string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && strings.HasPrefix(e.Name(), ".") {
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	return found
}

// eventually waits for a condition, with the patience of this suite.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, what, cond)
}

// isCreation reports whether an openat creates a file.
func isCreation(c *inject.Call) bool {
	return c.Number != unix.SYS_OPENAT || c.Args[2]&unix.O_CREAT != 0
}

func inState(w *paths) func(*inject.Call) bool { return in(w.state) }
