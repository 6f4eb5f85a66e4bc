// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// stall blocks every open of a file in a directory until the test releases it, as on a disk that does not respond,
// except for the directory itself and the file that may be read.
func stall(t *testing.T, dir, readable string) (letGo func()) {
	t.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC)
	if err == nil {
		err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM|unix.FAN_EVENT_ON_CHILD, unix.AT_FDCWD, dir)
	}
	if err != nil {
		nstest.NeedPrivilege(t, "keep files from being opened", err)
	}
	events := os.NewFile(uintptr(fd), "fanotify")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, err := events.Read(b)
			if err != nil {
				return // closed, which lets all of them continue
			}
			for rest := b[:n]; len(rest) > 0; rest = rest[binary.NativeEndian.Uint32(rest):] {
				file := int(int32(binary.NativeEndian.Uint32(rest[16:]))) // struct fanotify_event_metadata
				if path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(file)); err != nil || path == dir || path == readable {
					answer := binary.NativeEndian.AppendUint32(nil, uint32(file))
					_, _ = events.Write(binary.NativeEndian.AppendUint32(answer, unix.FAN_ALLOW))
				}
				unix.Close(file)
			}
		}
	}()
	letGo = func() {
		events.Close()
		<-ended
	}
	t.Cleanup(letGo)
	return letGo
}

// TestObserveAppliesBeforeItIsWritten sets observe on a node whose disk does not respond.
func TestObserveAppliesBeforeItIsWritten(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		dir, err := filepath.EvalSymlinks(t.TempDir()) // as the kernel reports it
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "mode")
		ns := newNS(t)
		n := newNode(t, finder, impatient, func(c *reaper.Config) { c.SwitchPath = path })
		n.register(ns, timing(inetdiag.CloseWait, soon))
		letGo := stall(t, dir, path)

		set := make(chan error, 1)
		go func() {
			_, err := n.SetMode(context.Background(), state.Switch{Mode: policy.Observe, Who: "alice", When: time.Now()})
			set <- err
		}()
		n.awaitMode(policy.Observe)
		spared := shut(t, ns.Connect(t, nstest.IPv4))
		n.awaitEntry(spared.Server, api.WouldDestroy)
		select {
		case err := <-set:
			t.Fatalf("it is said to be set before it could be: %v", err)
		default:
		}

		letGo()
		if err := <-set; err != nil {
			t.Error(err)
		}
		if view := n.status().Mode; view.Switch == nil || view.Switch.Who != "alice" || view.Effective != policy.Observe {
			t.Errorf("mode %v by %+v", view.Effective, view.Switch)
		}
		if all, err := state.LoadSwitches(path); err != nil || all.Node == nil || all.Node.Mode != policy.Observe {
			t.Errorf("the next reaper finds %+v: %v", all, err)
		}
		if got := n.outcomes(cookieOf(t, spared.Server)); got[api.Destroyed] != 0 {
			t.Errorf("the history has %v", got)
		}
	})
}
