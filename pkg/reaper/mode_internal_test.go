// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

const (
	noSwitch  = policy.Mode(0)
	badSwitch = policy.Mode(99)
)

// writeSwitch makes the switch's file: noSwitch removes it, and badSwitch writes garbage.
func writeSwitch(t *testing.T, path string, m policy.Mode) {
	t.Helper()
	var err error
	switch m {
	case noSwitch:
		if err = os.Remove(path); os.IsNotExist(err) {
			err = nil
		}
	case badSwitch:
		err = os.WriteFile(path, []byte("{"), 0o600)
	default:
		err = state.StoreSwitch(path, state.Switch{Mode: m, Who: "root", When: time.Unix(0, 0)})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestMostConservativeModeApplies(t *testing.T) {
	const kernel = "no CONFIG_INET_DIAG_DESTROY"
	for name, tc := range map[string]struct {
		record, reaper, set policy.Mode
		kernel              string
		want                policy.Mode
		capped              []string
	}{
		"nothing caps it": {record: policy.Destroy, reaper: policy.Destroy, want: policy.Destroy},
		"a switch that is set to the mode of the record": {
			record: policy.Destroy, reaper: policy.Destroy, set: policy.Destroy, want: policy.Destroy,
		},
		"the record's mode": {record: policy.Observe, reaper: policy.Destroy, set: policy.Destroy, want: policy.Observe},
		"the reaper's mode": {
			record: policy.Destroy, reaper: policy.Observe, set: policy.Destroy, want: policy.Observe,
			capped: []string{"the reaper's --mode observe"},
		},
		"the switch": {
			record: policy.Destroy, reaper: policy.Destroy, set: policy.Observe, want: policy.Observe,
			capped: []string{"the switch, set to observe by root at 1970-01-01T00:00:00Z"},
		},
		"an unreadable switch": {
			record: policy.Destroy, reaper: policy.Destroy, set: badSwitch, want: policy.Observe,
			capped: []string{"the unreadable switch: PROBLEM"},
		},
		"the kernel": {
			record: policy.Destroy, reaper: policy.Destroy, kernel: kernel, want: policy.Observe, capped: []string{"the kernel: " + kernel},
		},
		"off by the switch is more conservative than observe by all others": {
			record: policy.Destroy, reaper: policy.Observe, set: policy.Off, kernel: kernel, want: policy.Off,
			capped: []string{"the reaper's --mode observe", "the switch, set to off by root at 1970-01-01T00:00:00Z", "the kernel: " + kernel},
		},
		"a record that is off needs no cap": {
			record: policy.Off, reaper: policy.Observe, set: badSwitch, kernel: kernel, want: policy.Off,
		},
		"a record that observes is capped only by off": {
			record: policy.Observe, reaper: policy.Off, set: policy.Observe, kernel: kernel, want: policy.Off,
			capped: []string{"the reaper's --mode off"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "mode")
			writeSwitch(t, path, tc.set)
			c := newCaps(tc.reaper, path, tc.kernel, time.Now)
			ns := newRegistered(1)
			ns.policies[0].Mode = tc.record
			if got := effectiveMode(c, ns); got != tc.want {
				t.Errorf("mode %v, want %v", got, tc.want)
			}
			for i := range tc.capped {
				tc.capped[i] = strings.ReplaceAll(tc.capped[i], "PROBLEM", c.view.SwitchProblem)
			}
			if diff := cmp.Diff(tc.capped, c.cappedBy(ns, tc.record)); diff != "" {
				t.Errorf("capped by (-want +got):\n%s", diff)
			}
			if problem := c.view.SwitchProblem != ""; problem != (tc.set == badSwitch) {
				t.Errorf("the switch's problem is %q", c.view.SwitchProblem)
			}
		})
	}
}

func TestCapsFollowTheSwitch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	c := newCaps(policy.Destroy, path, "", time.Now)
	at := time.Now()
	c.refresh(at)
	for i, step := range []struct {
		set, want policy.Mode
		changes   bool
	}{
		{noSwitch, policy.Destroy, false},
		{policy.Observe, policy.Observe, true},
		{policy.Observe, policy.Observe, false}, // written again
		{policy.Off, policy.Off, true},
		{policy.Observe, policy.Observe, true},
		{badSwitch, policy.Observe, false}, // it may have been observe, so observe applies
		{policy.Destroy, policy.Destroy, true},
		{badSwitch, policy.Observe, true},
		{noSwitch, policy.Destroy, true},
		{noSwitch, policy.Destroy, false},
	} {
		writeSwitch(t, path, step.set)
		if c.refresh(at.Add(switchCheckInterval / 2)) {
			t.Errorf("step %d: it is looked at all the time", i)
		}
		at = at.Add(switchCheckInterval)
		if changes := c.refresh(at); changes != step.changes || c.view.Effective != step.want {
			t.Errorf("step %d: mode %v, changed %v; want %v, %v", i, c.view.Effective, changes, step.want, step.changes)
		}
		if (c.view.Switch != nil) != (step.set != noSwitch && step.set != badSwitch) {
			t.Errorf("step %d: the switch shows as %+v", i, c.view.Switch)
		}
	}
}

// effectiveMode returns the effective mode of a network namespace.
func effectiveMode(c *caps, ns *registered) policy.Mode {
	ns.limit = c.limit(ns)
	return ns.mode()
}

// TestSwitchRewrittenInPlaceIsRead overwrites a mode with one of the same length, and restores the modification time,
// as rsync and cp do.
func TestSwitchRewrittenInPlaceIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	writeSwitch(t, path, policy.Destroy)
	c := newCaps(policy.Destroy, path, "", time.Now)
	old := time.Now().Add(-time.Hour)
	rewrite := func(m policy.Mode) {
		t.Helper()
		writeSwitch(t, path+".new", m)
		data, err := os.ReadFile(path + ".new")
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err == nil {
			err = os.Chtimes(path, old, old)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	rewrite(policy.Destroy)
	at := time.Now().Add(time.Hour) // long after the change
	if c.refresh(at) {
		t.Error("it says the same, and something has changed")
	}
	for i, m := range []policy.Mode{policy.Observe, policy.Destroy} {
		rewrite(m)
		at = at.Add(switchCheckInterval)
		if !c.refresh(at) || c.view.Effective != m {
			t.Errorf("rewrite %d: the mode is %v, want %v", i, c.view.Effective, m)
		}
	}
}

// TestSwitchThatHasJustChangedIsReadAgain makes two changes within one tick of the kernel's clock.
func TestSwitchThatHasJustChangedIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mode")
	writeSwitch(t, path, policy.Destroy)
	c := newCaps(policy.Destroy, path, "", time.Now)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	changed := time.Unix(st.Ctim.Unix())
	for _, tc := range []struct {
		at     time.Duration // after the change
		isRead bool
	}{{50 * time.Millisecond, true}, {50*time.Millisecond + switchCheckInterval, true}, {time.Minute, false}, {time.Hour, false}} {
		at := changed.Add(tc.at)
		c.refresh(at)
		if isRead := c.readAt.Equal(at); isRead != tc.isRead {
			t.Errorf("%v after the change it is read: %v, want %v", tc.at, isRead, tc.isRead)
		}
	}
}

// TestSwitchWithoutEffectCausesNoSecondRecord has an attachment that observes, on a node whose switch is
// turned back and forth.
func TestSwitchWithoutEffectCausesNoSecondRecord(t *testing.T) {
	l, ns := newTestLoop(t, policy.Destroy)
	other := newRegistered(2)
	l.registry.namespaces[other.Identity] = other
	ns.policies[0].Mode = policy.Observe
	see(l, ns.Identity, overdueLook(7))
	for i, mode := range []policy.Mode{policy.Observe, policy.Destroy, policy.Observe, policy.Destroy} {
		if i == 1 {
			see(l, other.Identity, overdueLook(8)) // with an effect
		}
		for j := l.nextJob(now(), time.Now()); j != nil; j = l.nextJob(now(), time.Now()) {
			new(kernel).examine(j)
			l.examined(j, now())
		}
		turn(t, l, mode)
	}
	if ns.wouldDestroy != 1 || ns.destroyed != 0 {
		t.Errorf("%d would have been destroyed, %d were, of the one that is only observed", ns.wouldDestroy, ns.destroyed)
	}
	if other.wouldDestroy != 1 || other.destroyed != 1 {
		t.Errorf("%d would have been destroyed, %d were, of the one that the switch is for", other.wouldDestroy, other.destroyed)
	}
}

// TestAnotherCapNeverGivesALessConservativeMode adds one cap to random ones: a switch of the node, a namespace, a pod or a
// container, the reaper's mode, a problem of kernel or network namespaces, or a file that holds the netns.
func TestAnotherCapNeverGivesALessConservativeMode(t *testing.T) {
	scopes := []state.Scope{{}, {Namespace: "shop"}, {Namespace: "shop", Pod: "cart-0"}, {ID: "c1"}, {Namespace: "other"}}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, seed))
		mode := func() policy.Mode { return []policy.Mode{policy.Observe, policy.Off, policy.Destroy}[r.IntN(3)] }
		ns := newRegistered(1)
		ns.records[0].Pod, ns.records[0].ContainerID = state.Pod{Namespace: "shop", Name: "cart-0"}, "c1"
		c := newCaps(mode(), filepath.Join(t.TempDir(), "mode"), "", time.Now)
		before := c.limit(ns)
		for range 6 {
			what := "a switch"
			switch r.IntN(5) {
			case 0:
				c.setNetnsProblem("no network namespace can be entered")
				what = "a problem"
			case 1:
				ns.blockers = append(ns.blockers, state.Hold{File: "damaged"})
				what = "a file that holds the netns"
			default:
				sw := state.Switch{Mode: mode(), Who: "root", When: time.Unix(0, 0), Scope: scopes[r.IntN(len(scopes))]}
				if was, ok := c.switches.Of(sw.Scope); ok { // it replaces that one
					sw.Mode = policy.MostConservative(sw.Mode, was.Mode)
				}
				if sw.Mode != policy.Destroy {
					c.set(sw, r.IntN(2) == 0 && state.StoreSwitch(c.path, sw) == nil)
				}
			}
			after := c.limit(ns)
			if policy.MostConservative(before, after) != after {
				t.Fatalf("seed %d: with %s more the mode is %v, before %v", seed, what, after, before)
			}
			before = after
		}
	}
}
