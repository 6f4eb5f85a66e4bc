// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
	"github.com/halfclose/halfclose/pkg/doctor"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/node"
)

// nameNetns creates a named network namespace for the test.
func nameNetns(t *testing.T, name string) (path string) {
	t.Helper()
	needNode(t)
	path, err := node.AddNetns(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.DeleteNetns(name); err != nil {
			t.Error(err)
		}
	})
	return path
}

// record records the namespace at a path.
func record(t *testing.T, store *state.Store, name, path string) {
	t.Helper()
	id, err := netns.Identify(path)
	boot, bootErr := netns.BootID()
	err = errors.Join(err, bootErr, store.Put(state.Record{
		Network: "pods", Attachment: state.Attachment{ContainerID: name, IfName: "eth0"}, Boot: boot,
		Netns: state.Netns{Path: path, Identity: id}, Time: time.Now(),
	}))
	if err != nil {
		t.Fatal(err)
	}
}

// TestANamespaceNamedAfterAPrivateMountIsReported creates a process with its own mounts, and then a named namespace. With a
// private mount the process sees a plain file.
func TestANamespaceNamedAfterAPrivateMountIsReported(t *testing.T) {
	for _, tt := range []struct {
		name        string
		propagation uintptr
		check       func(t *testing.T, r doctor.Report, path string)
	}{
		{"private", unix.MS_PRIVATE, func(t *testing.T, r doctor.Report, path string) {
			f := has(t, r, "records", doctor.Fail, "1 record cannot be acted on, since "+path+" is no namespace here but a plain file")
			if !strings.Contains(f.Do, "HostToContainer") || !strings.Contains(f.What, "late") || strings.Contains(f.What, "early") {
				t.Errorf("it reports %q and recommends %q", f.What, f.Do)
			}
			has(t, r, "netns-mounts", doctor.Warn, "/run/netns is on a private mount")
			has(t, r, "records", doctor.OK, "2 attachments are registered, of which 1 can be acted on from here")
		}},
		{"slave", unix.MS_SLAVE, func(t *testing.T, r doctor.Report, _ string) {
			hasNone(t, r, "records", doctor.Info)
			has(t, r, "netns-mounts", doctor.OK, "/run/netns receives mounts from the host (/run)")
			has(t, r, "records", doctor.OK, "2 attachments are registered, of which 2 can be acted on from here")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			store := state.New(dir)
			record(t, store, "early", nameNetns(t, "early-"+tt.name))
			cmd := patient{StateDir: dir, Propagation: tt.propagation}.command(t)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
			var late string
			r := examine(t, cmd, func() {
				late = nameNetns(t, "late-"+tt.name)
				record(t, store, "late", late)
			})
			tt.check(t, r, late)
			hasNone(t, r, "unregistered", doctor.Info)
		})
	}
}

func TestAnEmptyRunIsReported(t *testing.T) {
	cmd := patient{StateDir: t.TempDir(), Propagation: unix.MS_PRIVATE, HideRun: true}.command(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	f := has(t, examine(t, cmd, func() {}), "netns-mounts", doctor.Warn, "there is no /run/netns here")
	if !strings.Contains(f.Do, "-v /run/netns:/run/netns:rslave") {
		t.Errorf("it recommends %s", f.Do)
	}
}

func TestAPlainFileBelowAHostRootIsReported(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	path := nameNetns(t, "web")
	record(t, state.New(dir), "web", path)
	at := filepath.Join(root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, nil, 0o444)); err != nil {
		t.Fatal(err)
	}
	p := patient{StateDir: dir, HostRoot: root, ConfDir: spec.DefaultConfDir}
	f := has(t, examine(t, p.command(t), func() {}), "records", doctor.Fail, path+" is no namespace here but a plain file")
	if !strings.Contains(f.Do, "-v /:"+root+":ro,rslave") {
		t.Errorf("it recommends %s", f.Do)
	}
	has(t, examine(t, p.command(t), func() {}), "state-dir", doctor.Warn, "the host has no "+dir+" yet")
}

func TestAMissingHostRootIsAFailure(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "host")
	r := examine(t, patient{StateDir: t.TempDir(), HostRoot: nowhere, ConfDir: spec.DefaultConfDir}.command(t), func() {})
	f := has(t, r, "host-root", doctor.Fail, nowhere+": no such file or directory: a reaper does not start")
	if !strings.Contains(f.Do, "--host-root") {
		t.Errorf("it recommends %s", f.Do)
	}
	if f := has(t, r, "unregistered", doctor.Warn, nowhere); strings.Contains(f.What, "\n") {
		t.Errorf("it is reported twice: %q", f.What)
	}
}

func TestNamedNamespacesWithoutARecordAreReported(t *testing.T) {
	dir := t.TempDir()
	other, web := nameNetns(t, "other"), nameNetns(t, "web")
	record(t, state.New(dir), "web", web)
	elsewhere := filepath.Join(t.TempDir(), "third") // outside the usual directories
	if err := os.WriteFile(elsewhere, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(nstest.New(t).Path(), elsewhere, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(elsewhere, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r := examine(t, patient{StateDir: dir}.command(t), func() {})
	f := has(t, r, "unregistered", doctor.Info, "2 named network namespaces are not registered")
	if !strings.Contains(f.What, other) || !strings.Contains(f.What, elsewhere) || strings.Contains(f.What, web) || !strings.Contains(f.Do, "halfclose register /run/") {
		t.Errorf("it reports %q and recommends %q", f.What, f.Do)
	}
	has(t, r, "records", doctor.OK, "1 attachment is registered, of which 1 can be acted on from here")
	has(t, r, "reaper", doctor.Warn, "no reaper runs, and 1 attachment is registered")
}
