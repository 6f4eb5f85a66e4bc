// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
)

// uninstalledAndInstalled takes halfclose out of the conflist while pods run, and puts it back. Pods start at
// every step; those that are removed meanwhile are forgotten, whether the runtime calls DEL or not.
func uninstalledAndInstalled(t *testing.T, s *site) {
	during, after := s.run(t, "during", nil), s.run(t, "after", nil)
	namespaces := s.status(t).Namespaces
	s.halfclose(t, "uninstall")
	s.awaitLoaded(t, false)
	without := s.run(t, "without", nil)
	if s.recorded(t, without) {
		t.Error("halfclose was called after it was uninstalled")
	}
	// A pod from before is still looked after.
	s.destroyed(t, during.leak(t, "leak", without))
	s.remove(t, during)
	if s.recorded(t, during) == s.cachedDEL {
		t.Errorf("DEL came from what ADD had: %v, want %v", !s.recorded(t, during), s.cachedDEL)
	}

	s.halfclose(t, "install", "--close-wait-grace", grace.String(), "--fin-wait2-grace", "never")
	s.awaitLoaded(t, true)
	with := s.run(t, "with", nil)
	s.destroyed(t, with.leak(t, "leak", after))
	nstest.Eventually(t, soon, "the reaper has forgotten the namespace that is gone, DEL or not", func() bool {
		st, err := s.admin.Status(t.Context())
		return err == nil && st.Namespaces == namespaces
	})
	if s.recorded(t, without) {
		t.Error("a pod from before the installation has a record")
	}
	s.remove(t, after)
	if s.recorded(t, after) {
		t.Error("a pod from before the removal is removed, and its record is still there")
	}
}

// awaitLoaded waits until the runtime knows the conflist as it is.
func (s *site) awaitLoaded(t *testing.T, want bool) {
	t.Helper()
	if l, ok := s.runtime.(loader); ok {
		l.loaded(t, s, want)
		return
	}
	if d, ok := s.runtime.(*direct); ok {
		if l, ok := d.caller.(loader); ok {
			l.loaded(t, s, want)
		}
	}
}

// dropInIsLoaded installs halfclose in a file of its own.
func dropInIsLoaded(t *testing.T, s *site) {
	s.halfclose(t, "uninstall")
	s.awaitLoaded(t, false)
	s.halfclose(t, "install", "--drop-in", "--close-wait-grace", grace.String(), "--fin-wait2-grace", "never")
	files, err := filepath.Glob(filepath.Join(confDir, network, "*.conf"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the files for the network are %v: %v", files, err)
	}
	defer func() {
		s.halfclose(t, "uninstall")
		if _, err := os.Stat(files[0]); !os.IsNotExist(err) {
			t.Errorf("uninstall has left %s: %v", files[0], err)
		}
	}()
	if _, ok := s.runtime.(loader); ok {
		p := s.run(t, "unaware", nil)
		if s.recorded(t, p) {
			t.Error("a drop-in was noticed by itself")
		}
	}
	// What runtimes notice is a change of the conflist itself.
	s.editConflist(t, func(map[string]any) {})
	if s.dropIn {
		s.awaitLoaded(t, true)
		p, far := s.run(t, "dropped-in", nil), s.run(t, "dropped-far", nil)
		s.destroyed(t, p.leak(t, "leak", far))
		return
	}
	reload := time.Now()
	p := s.run(t, "ignores", nil)
	if s.recorded(t, p) {
		t.Errorf("the drop-in was loaded after all (%v)", time.Since(reload))
	}
}
