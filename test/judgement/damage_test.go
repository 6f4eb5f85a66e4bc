// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

const (
	destroying = `{"probeAfter": "never", "grace": "1s"}`
	observing  = `{"probeAfter": "never", "grace": "1s", "mode": "observe"}`
)

// TestDamagedObserveRecordDestroysNoSocket damages one of the two records of a network namespace. The other record
// alone would allow destroying.
func TestDamagedObserveRecordDestroysNoSocket(t *testing.T) {
	rewrite := func(t *testing.T, r *reaper, rec state.Record, change func(old []byte) []byte) {
		t.Helper()
		name, err := rec.FileName()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(r.store.AttachmentsDir(), name)
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		damaged := change(old)
		if bytes.Equal(damaged, old) {
			t.Fatal("the record has not changed")
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eachFinder(t, func(t *testing.T, finder string) {
		for name, damage := range map[string]func(t *testing.T, r *reaper, rec state.Record){
			"cut short": func(t *testing.T, r *reaper, rec state.Record) {
				rewrite(t, r, rec, func(old []byte) []byte { return old[:len(old)/2] })
			},
			"emptied": func(t *testing.T, r *reaper, rec state.Record) {
				rewrite(t, r, rec, func([]byte) []byte { return nil })
			},
			"of a newer version": func(t *testing.T, r *reaper, rec state.Record) {
				rewrite(t, r, rec, func(old []byte) []byte {
					return bytes.Replace(old, fmt.Appendf(nil, `"version": %d`, state.Version), []byte(`"version": 99`), 1)
				})
			},
			"with an unknown word": func(t *testing.T, r *reaper, rec state.Record) {
				rewrite(t, r, rec, func(old []byte) []byte { return bytes.Replace(old, []byte(`"observe"`), []byte(`"look"`), 1) })
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r, s := newReaper(t, finder), newScene(t)
				control := r.control()
				r.register(s.near, "destroying", destroying)
				rec := r.register(s.near, "observing", observing)
				damage(t, r, rec)
				r.onlyObserves(s, control)
			})
		}
		t.Run("whose path has gone with its process", func(t *testing.T) {
			t.Parallel()
			r, s := newReaper(t, finder), newScene(t)
			control := r.control()
			r.register(s.near, "destroying", destroying)
			process := exec.Command("sleep", "1000")
			var err error
			s.near.Do(t, func() { err = process.Start() })
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = process.Process.Kill() // it has been
				_ = process.Wait()
			})
			rec := r.record(s.near, "observing", observing)
			rec.Netns.Path = fmt.Sprintf("/proc/%d/ns/net", process.Process.Pid)
			r.put(rec)
			r.awaitRegistered(rec)
			if err := process.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = process.Wait() // killed
			r.onlyObserves(s, control)
		})
		t.Run("rewritten on a full disk", func(t *testing.T) {
			t.Parallel()
			r, s := onSmallDisk(t, finder), newScene(t)
			control := r.control()
			r.register(s.near, "destroying", destroying)
			rec := r.register(s.near, "observing", observing)
			r.fillDisk()
			if err := r.store.Put(rec); !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("the record is written again: %v", err)
			}
			r.onlyObserves(s, control)
		})
	})
}

// TestUnrecordedAttachmentOnAFullDiskDestroysNoSocket calls the plugin for a second interface of a container, with mode
// observe. The plugin ignores the write error, and the first attachment alone would allow destroying.
func TestUnrecordedAttachmentOnAFullDiskDestroysNoSocket(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		r, s := onSmallDisk(t, finder), newScene(t)
		if out, err := r.add(s.near, "eth0", `"probeAfter": "never", "grace": "1s"`); err != nil {
			t.Fatalf("ADD of eth0: %v\n%s", err, out)
		}
		nstest.Eventually(t, patience, "the reaper knows the attachment", func() bool {
			_, ok := r.attachment(state.Attachment{ContainerID: "container", IfName: "eth0"})
			return ok
		})
		control := r.control()
		r.fillDisk()
		out, err := r.add(s.near, "net1", `"probeAfter": "never", "grace": "1s", "mode": "observe", "failurePolicy": "ignore"`)
		if err != nil || !strings.Contains(out, "no space left") {
			t.Fatalf("ADD of net1: %v\n%s", err, out)
		}
		p := s.leftByServer()
		r.outlives(control)
		r.untouched(closeWait, p.Client)
		answers(t, p.Client, p.Server)
	})
}

// onlyObserves checks that a socket past its grace in near is not destroyed, while one in another network namespace is.
func (r *reaper) onlyObserves(s, control *scene) {
	r.t.Helper()
	p := s.leftByServer()
	r.awaitVerdict(p.Client, policy.WouldDestroy)
	r.outlives(control)
	r.untouched(closeWait, p.Client)
	answers(r.t, p.Client, p.Server)
}

// control returns a scene whose sockets are destroyed.
func (r *reaper) control() *scene {
	r.t.Helper()
	s := newScene(r.t)
	r.register(s.near, "control", destroying)
	return s
}

// outlives half-closes two sockets, one after the other, and waits until each is destroyed. A socket that was past its
// grace before, and still exists, was spared.
func (r *reaper) outlives(control *scene) {
	r.t.Helper()
	for range 2 {
		r.awaitEntry(control.leftByServer().Client, api.Destroyed)
	}
}

// onSmallDisk starts a reaper whose state directory is a file system of its own.
func onSmallDisk(t *testing.T, finder string) *reaper {
	t.Helper()
	r := idleReaper(t, finder)
	if err := os.Mkdir(r.store.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", r.store.Dir(), "tmpfs", 0, "size=512k,mode=700"); err != nil {
		nstest.NeedPrivilege(t, "mount a file system", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(r.store.Dir(), unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r.start()
	return r
}

// fillDisk fills the file system of the state directory.
func (r *reaper) fillDisk() {
	r.t.Helper()
	err := os.WriteFile(filepath.Join(r.store.Dir(), "filler"), make([]byte, 1<<20), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		r.t.Fatalf("fill the disk: %v", err)
	}
}

// add calls the plugin as a runtime does, with these members of its object.
func (r *reaper) add(ns *nstest.NS, ifname, members string) (output string, err error) {
	r.t.Helper()
	cmd := exec.Command(filepath.Join(bin, "cni", "halfclose"))
	cmd.Env = append(r.env(), "CNI_COMMAND=ADD", "CNI_CONTAINERID=container", "CNI_IFNAME="+ifname, "CNI_NETNS="+ns.Path(), "CNI_PATH="+filepath.Join(bin, "cni"))
	cmd.Stdin = strings.NewReader(`{"cniVersion": "1.1.0", "name": "testnet", "type": "halfclose", "reaper": "external",
		"prevResult": {"cniVersion": "1.1.0"}, ` + members + `}`)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
