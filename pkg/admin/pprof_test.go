// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

// pprof returns the output of "go tool pprof" for a profile of the reaper.
func (n *node) pprof(path string) string {
	n.tb.Helper()
	a := n.get(path)
	if a.code != http.StatusOK {
		n.tb.Fatalf("%s: status %d: %s", path, a.code, a.body)
	}
	file := filepath.Join(n.tb.TempDir(), "profile")
	if err := os.WriteFile(file, []byte(a.body), 0o600); err != nil {
		n.tb.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", file).CombinedOutput()
	if err != nil {
		n.tb.Fatalf("%s: %v\n%s", path, err, out)
	}
	return string(out)
}

func TestProfilesAreReadByTheGoTool(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if got := n.pprof("/debug/pprof/goroutine"); !strings.Contains(got, "Type: goroutine") || !strings.Contains(got, "runtime.gopark") {
		t.Errorf("goroutines: %s", got)
	}
	if got := n.pprof("/debug/pprof/heap?gc=1"); !strings.Contains(got, "Type: inuse_space") {
		t.Errorf("heap: %s", got)
	}
	if got := n.pprof("/debug/pprof/profile?seconds=1"); !strings.Contains(got, "Type: cpu") || !strings.Contains(got, "Duration: ") {
		t.Errorf("CPU: %s", got)
	}
}

func TestProfilesAsText(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	list := n.get("/debug/pprof/").body
	for _, name := range []string{"profile", "trace", "heap", "goroutine", "threadcreate"} {
		if !strings.Contains(list, name+"?debug=") {
			t.Errorf("%s is not in the list:\n%s", name, list)
		}
	}
	a := n.get("/debug/pprof/goroutine?debug=1")
	if !strings.Contains(a.body, "pkg/reaper.(*loop).run") || a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("goroutines, %s: %s", a.header.Get("Content-Type"), a.body)
	}
	if a := n.get("/debug/pprof/trace?seconds=1"); a.code != http.StatusOK || !strings.HasPrefix(a.body, "go 1.") {
		t.Errorf("trace: status %d: %.20q", a.code, a.body)
	}
}

// TestASecondCPUProfileIsRefused requests one during another, which it then cancels.
func TestASecondCPUProfileIsRefused(t *testing.T) {
	n := newNode(t) // not in parallel with others that take one
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://reaper/debug/pprof/profile?seconds=300", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: n.unix.Transport}
	given := make(chan struct{})
	go func() {
		defer close(given)
		for {
			resp, err := client.Do(req)
			if err != nil {
				return // canceled
			}
			if resp.StatusCode == http.StatusOK { // it is being taken, and is until that is given up
				_, _ = io.Copy(io.Discard, resp.Body)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusInternalServerError && ctx.Err() == nil { // with the test's own, below
				t.Errorf("status %d after less than 300 seconds", resp.StatusCode)
				return
			}
		}
	}()
	nstest.Eventually(t, patience, "the first is being taken", func() bool {
		if err := pprof.StartCPUProfile(io.Discard); err != nil {
			return true
		}
		pprof.StopCPUProfile()
		return false
	})
	if a := n.get("/debug/pprof/profile?seconds=1"); a.code != http.StatusInternalServerError {
		t.Errorf("a second one: status %d: %s", a.code, a.body)
	}
	giveUp()
	<-given
	nstest.Eventually(t, patience, "after that there can be another", func() bool {
		a := n.get("/debug/pprof/profile?seconds=1")
		if a.code != http.StatusOK && a.code != http.StatusInternalServerError {
			t.Fatalf("status %d: %s", a.code, a.body)
		}
		return a.code == http.StatusOK
	})
}
