// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"
)

// runWithout runs the process without a capability: one that its parent's bounding set lacks
// (capabilities(7)).
func (p process) runWithout(t *testing.T, capability uintptr) (e exited) {
	t.Helper()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		goruntime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err = unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err == nil {
			e, err = p.run()
		}
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAddSaysWhichCapabilityItLacks(t *testing.T) {
	r := newRuntime(t)
	e := r.process("ADD", chained("1.0.0", `, "failurePolicy": "fail"`), nil).runWithout(t, unix.CAP_SYS_ADMIN).cniError(t)
	if e.Code != types.ErrInternal || !strings.Contains(e.Details, "CAP_SYS_ADMIN") {
		t.Errorf("under fail: %+v, want code 999 that names the capability", e)
	}
	o := r.process("ADD", chained("1.0.0", ""), nil).runWithout(t, unix.CAP_SYS_ADMIN)
	if o.code != 0 || !strings.Contains(o.stderr, "CAP_SYS_ADMIN") {
		t.Errorf("under ignore: %+v, want success and a warning that names the capability", o)
	}
	if r.isRecorded(t) {
		t.Error("a namespace that could not be identified is recorded")
	}
}
