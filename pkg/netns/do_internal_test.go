// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

func TestAThreadThatCannotReturnExits(t *testing.T) {
	ns := netns.NsHandle(nstest.New(t).FD())
	stuck := errors.New("stuck")
	inside := errors.New("inside")
	for name, fn := range map[string]func() error{
		"after success":  func() error { return nil },
		"after an error": func() error { return inside },
	} {
		t.Run(name, func(t *testing.T) {
			var calls, tid int
			setns := func(to netns.NsHandle) error {
				if calls++; calls > 1 {
					return stuck
				}
				tid = unix.Gettid()
				return netns.Set(to)
			}
			err := in(ns, setns, fn)
			if !errors.Is(err, stuck) {
				t.Errorf("error = %v, want the error of the return", err)
			}
			if want := fn(); want != nil && !errors.Is(err, want) {
				t.Errorf("error = %v, want the error of the function too", err)
			}
			thread := fmt.Sprintf("/proc/self/task/%d", tid)
			nstest.Eventually(t, 10*time.Second, "the thread exits", func() bool {
				_, err := os.Stat(thread)
				return errors.Is(err, os.ErrNotExist)
			})
		})
	}
}

func TestDoRunsNoFunctionIfItCannotEnter(t *testing.T) {
	denied := fmt.Errorf("setns: %w", unix.EPERM)
	ran := false
	err := in(netns.None(), func(netns.NsHandle) error { return denied }, func() error { ran = true; return nil })
	if ran || !errors.Is(err, unix.EPERM) {
		t.Errorf("ran = %v, error = %v, want no run, and EPERM", ran, err)
	}
}

// Other processes take the main thread's namespace for that of the process. The test runs in a child process, in which no other
// test blocks the main thread.
func TestDoNeverUsesTheMainThread(t *testing.T) {
	const child = "HALFCLOSE_TEST_MAIN_THREAD"
	if os.Getenv(child) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1", "GOMAXPROCS=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
			t.Errorf("%v:\n%s", err, out)
		}
		return
	}
	for range 1000 {
		setns := func(netns.NsHandle) error {
			if unix.Gettid() == os.Getpid() {
				return errors.New("this is the main thread")
			}
			return nil
		}
		if err := in(netns.None(), setns, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
}
