// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// needVerbs returns the runtime's way to the verbs of the spec's version 1.1.
func needVerbs(t *testing.T, s *site) verbs {
	t.Helper()
	d, ok := s.runtime.(*direct)
	if !ok {
		t.Skipf("%s never calls it", s.name)
	}
	return d.caller
}

func checkRepairs(t *testing.T, s *site) {
	v := needVerbs(t, s)
	p, other := s.run(t, "checked", nil), s.run(t, "unchecked", nil)
	was := s.record(t, p)
	if err := v.check(t, p); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	if diff := cmp.Diff(was, s.record(t, p), cmp.AllowUnexported(policy.Layer{})); diff != "" {
		t.Errorf("CHECK has changed the record (-was +is)\n%s", diff)
	}

	again := was
	for again.Adopted = true; again.Adopted; again = s.record(t, p) { // the reaper may adopt the container before CHECK
		if err := s.Store.Delete(p.attachment()); err != nil {
			t.Fatal(err)
		}
		if err := v.check(t, p); err != nil {
			t.Fatalf("CHECK with the record gone: %v", err)
		}
	}
	if diff := cmp.Diff(was, again, cmpopts.IgnoreFields(state.Record{}, "Time", "Warnings", "Layers")); diff != "" {
		t.Errorf("CHECK wrote another record than ADD (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(was.Warnings, again.Warnings); diff != "" {
		t.Errorf("the repair counts as a mistake (-want +got)\n%s", diff)
	}

	wrong := was
	wrong.Netns = s.record(t, other).Netns
	if err := s.Store.Put(wrong); err != nil {
		t.Fatal(err)
	}
	if err := v.check(t, p); err != nil {
		t.Errorf("CHECK of a record that names another namespace: %v", err)
	}
	if repaired := s.record(t, p); repaired.Netns != was.Netns || repaired.Layers.Observe == "" {
		t.Errorf("CHECK of a record that names another namespace left %+v, want one of %s that observes", repaired, was.Netns.Path)
	}
	if err := s.Store.Put(was); err != nil {
		t.Fatal(err)
	}
}

func gcRemoves(t *testing.T, s *site) {
	v := needVerbs(t, s)
	p := s.run(t, "valid", nil)
	stray, foreign := s.record(t, p), s.record(t, p)
	stray.ContainerID = "stray"
	foreign.ContainerID, foreign.Network = "foreign", "another"
	if err := errors.Join(s.Store.Put(stray), s.Store.Put(foreign)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, r := range []state.Record{stray, foreign} {
			if err := s.Store.Delete(r.Attachment); err != nil {
				t.Error(err)
			}
		}
	}()
	err := v.gc(t, p)
	want := map[string]bool{p.id: true, "stray": false, "foreign": true}
	if errors.Is(err, errors.ErrUnsupported) {
		// Without a list libcni deletes every attachment in its cache, and plugins get an empty list.
		err = v.gc(t)
		want = map[string]bool{p.id: false, "stray": true, "foreign": true}
	}
	if err != nil {
		t.Errorf("GC: %v", err)
	}
	got := map[string]bool{}
	for id := range want {
		got[id] = s.recorded(&pod{name: id, id: id})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records after GC (-want +got)\n%s", diff)
	}
}

// statusFails makes the state directory unwritable. STATUS must fail, which makes the node not ready, only if the
// failure policy is fail.
func statusFails(t *testing.T, s *site) {
	status := func() error { return errors.ErrUnsupported }
	if d, ok := s.runtime.(*direct); ok {
		status = func() error { return d.status(t) }
	}
	if c, ok := s.runtime.(*containerd); ok {
		status = func() error {
			if ready, why, _ := c.networkReady(t); !ready {
				return errors.New(why)
			}
			return nil
		}
	}
	if errors.Is(status(), errors.ErrUnsupported) || s.version < "1.1.0" {
		t.Skipf("%s never calls it", s.name)
	}
	succeeds := func(when string) {
		t.Helper()
		nstest.Eventually(t, testnode.Patience, "STATUS succeeds "+when, func() bool { return status() == nil })
	}
	succeeds("at first")
	dir := s.Store.AttachmentsDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, "mode=755"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		s.editEntry(t, func(entry map[string]any) { delete(entry, "failurePolicy") })
		succeeds("in the end")
	}()
	succeeds("with a state directory that cannot be used, by default")
	s.editEntry(t, func(entry map[string]any) { entry["failurePolicy"] = "fail" })
	nstest.Eventually(t, testnode.Patience, "STATUS fails with a failure policy of fail", func() bool {
		err := status()
		return err != nil && strings.Contains(err.Error(), "state directory cannot be used")
	})
}
