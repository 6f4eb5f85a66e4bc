// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"os/exec"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
)

// TestTimeNamespaceOfAReaperMakesNoSocketOlder runs one reaper after the other in time namespaces of different offsets.
func TestTimeNamespaceOfAReaperMakesNoSocketOlder(t *testing.T) {
	const grace = lateGrace
	if err := exec.Command("unshare", "--time", "true").Run(); err != nil {
		nstest.NeedPrivilege(t, "create a time namespace", err)
	}
	eachFinder(t, func(t *testing.T, finder string) {
		for _, offsets := range [][2]string{{"3600", "-100"}, {"-100", "3600"}} {
			t.Run(offsets[0]+" s and then "+offsets[1]+" s", func(t *testing.T) {
				t.Parallel()
				r, s := idleReaper(t, finder), newScene(t)
				in := func(offset string) { r.startIn([]string{"unshare", "--time", "--monotonic", offset}) }
				in(offsets[0])
				r.register(s.near, "pod", latePolicy)
				began := time.Now()
				first := s.leftByServer()
				early(t, r.awaitEntry(first.Client, api.Destroyed), began, grace)
				r.register(s.near, "pod", slowPolicy)
				began = time.Now()
				second := s.leftByServer()
				r.awaitKnown(second.Client)
				r.stop()
				r.put(r.record(s.near, "pod", latePolicy))
				in(offsets[1])
				early(t, r.awaitEntry(second.Client, api.Destroyed), began, grace)
				began = time.Now()
				third := s.leftByServer()
				early(t, r.awaitEntry(third.Client, api.Destroyed), began, grace)
			})
		}
	})
}

// early checks that a socket that was half-closed after a moment was not destroyed before the end of its grace, and
// that its recorded age is not too high.
func early(t *testing.T, e api.Entry, since time.Time, grace time.Duration) {
	t.Helper()
	const tick = 10 * time.Millisecond // of the kernel's clock, in which it counts how long ago an acknowledgement came
	if took := e.Time.Sub(since); took < grace-tick || time.Duration(e.Age) < grace || time.Duration(e.Age) > took+tick {
		t.Errorf("%v was destroyed %v after it became half-closed, with an age of %v and a grace of %v", e.Local, took, time.Duration(e.Age), grace)
	}
}
