// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/policy"
)

// uninstalledAndInstalled removes halfclose from the conflist while pods run, and restores it. Pods start at every step. A pod
// from before the installation is adopted.
// Pods that are removed in between are forgotten, with DEL or without.
func uninstalledAndInstalled(t *testing.T, s *site) {
	during, after := s.run(t, "during", nil), s.run(t, "after", nil)
	namespaces := s.AwaitStatus().Namespaces
	s.halfclose(t, "uninstall")
	if _, err := os.Stat(filepath.Join(pluginDir, "halfclose")); err != nil {
		t.Errorf("DELs to come do not find the binary: %v", err)
	}
	s.awaitLoaded(t, false)
	without := s.run(t, "without", map[string]string{policy.AnnotationCloseWaitGrace: "1s"})
	if s.recorded(without) {
		t.Error("halfclose was called after it was uninstalled")
	}
	old := without.leak(t, "old", after)
	// A leak in a pod that was created before is still destroyed.
	s.awaitDestroyed(during.leak(t, "leak", without))
	s.remove(t, during)
	if s.recorded(during) == s.cachedDEL {
		t.Errorf("DEL came from what ADD had: %v, want %v", !s.recorded(during), s.cachedDEL)
	}

	s.halfclose(t, "install", "--close-wait-grace", grace.String(), "--fin-wait2-grace", "1h")
	s.awaitLoaded(t, true)
	with := s.run(t, "with", nil)
	s.awaitDestroyed(with.leak(t, "leak", after))
	s.awaitDestroyed(old) // the pod is adopted
	adopted := s.record(t, without)
	if _, annotated := adopted.Layers.Annotations[policy.AnnotationCloseWaitGrace]; !adopted.Adopted || annotated != s.annotations || adopted.Pod != s.podOf(without) {
		t.Errorf("the record of a pod from before the installation is %+v", adopted)
	}
	s.remove(t, without)
	nstest.Eventually(t, testnode.Patience, "the adopted record goes, with a DEL of halfclose or without", func() bool { return !s.recorded(without) })
	nstest.Eventually(t, testnode.Patience, "the reaper has forgotten the namespace that is gone, DEL or not", func() bool {
		st, err := s.Client.Status(t.Context())
		return err == nil && st.Namespaces == namespaces
	})
	s.remove(t, after)
	if s.recorded(after) {
		t.Error("a pod from before the removal is removed, and its record is still there")
	}
}

// awaitLoaded waits until the runtime has loaded the current conflist.
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

// dropInIsLoaded installs halfclose as a drop-in file.
func dropInIsLoaded(t *testing.T, s *site) {
	s.halfclose(t, "uninstall")
	s.awaitLoaded(t, false)
	s.halfclose(t, "install", "--drop-in", "--close-wait-grace", grace.String(), "--fin-wait2-grace", "1h")
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
	// Runtimes notice a change of the conflist only.
	s.editConflist(t, func(map[string]any) {})
	if s.dropIn {
		s.awaitLoaded(t, true)
		p, far := s.run(t, "dropped-in", nil), s.run(t, "dropped-far", nil)
		s.awaitDestroyed(p.leak(t, "leak", far))
		return
	}
	// The runtime ignores the file, so there is no ADD. The reaper reads it, and adopts the pod.
	p := s.run(t, "ignores", nil)
	nstest.Eventually(t, testnode.Patience, "the pod is adopted", func() bool { return s.recorded(p) })
	if !s.record(t, p).Adopted {
		t.Error("the drop-in was loaded")
	}
}

// fails waits until pods fail to start, and returns the error that the last one failed with.
func (s *site) fails(t *testing.T, when string) (last error) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, "pods fail to start "+when, func() bool {
		p, err := s.runtime.run(t, s.unique("fails"), nil)
		if last = err; err == nil {
			p.connect(t)
			s.remove(t, p)
		}
		return err != nil
	})
	return last
}

// missingBinaryFails shows why uninstall keeps the binary, and install writes it first.
func missingBinaryFails(t *testing.T, s *site) {
	binary := filepath.Join(pluginDir, "halfclose")
	if err := os.Rename(binary, binary+".away"); err != nil {
		t.Fatal(err)
	}
	back := func() error { return os.Rename(binary+".away", binary) }
	err := s.fails(t, "without the binary")
	missing := strings.Contains(err.Error(), "failed to find plugin") && strings.Contains(err.Error(), "halfclose") // prose:ok: the error of libcni
	unloaded := strings.Contains(err.Error(), "no CNI configuration file")                                          // ocicni watches the plugins' directory too
	if !missing && !unloaded {
		t.Errorf("unexpected error: %v", err)
	}
	if c, ok := s.runtime.(*containerd); ok {
		asks := s.version >= "1.1.0" // for STATUS
		if ready, why, _ := c.networkReady(t); ready == asks {
			t.Errorf("the network is ready: %v %s", ready, why)
		}
	}
	if err := back(); err != nil {
		t.Fatal(err)
	}
	s.start(t, "with the binary back")
	p := s.run(t, "found", nil)
	if !s.recorded(p) {
		t.Error("with the binary back, a pod has no record")
	}
}

// start waits until pods start.
func (s *site) start(t *testing.T, when string) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, "pods start "+when, func() bool {
		p, err := s.runtime.run(t, s.unique("starts"), nil)
		if err == nil {
			p.connect(t)
			s.remove(t, p)
		}
		return err == nil
	})
}

// newerVersionFails shows why the shipped conflist is not of the newest version.
func newerVersionFails(t *testing.T, s *site) {
	if s.version == "1.1.0" {
		t.Skipf("%s knows the newest version", s.name)
	}
	version := func(v string) {
		s.editConflist(t, func(conf map[string]any) { conf["cniVersion"] = v })
	}
	version("1.1.0")
	err := s.fails(t, "with version 1.1.0")
	if !strings.Contains(err.Error(), "1.1.0") && !strings.Contains(err.Error(), "version") {
		t.Errorf("unexpected error: %v", err)
	}
	version(s.version)
	s.awaitLoaded(t, true)
	s.start(t, "again")
}
