// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// scopeOf is the scope of a record's pod.
func scopeOf(r state.Record) state.Scope {
	return state.Scope{Namespace: r.Pod.Namespace, Pod: r.Pod.Name}
}

// set sets a switch through the reaper.
func (n *node) set(sw state.Switch) api.ModeView {
	n.tb.Helper()
	sw.Who, sw.When = "alice", n.now()
	view, err := n.SetMode(context.Background(), sw)
	if err != nil {
		n.tb.Fatal(err)
	}
	return view
}

// mode returns the mode of an attachment.
func (n *node) modeOf(r state.Record) policy.Mode {
	n.tb.Helper()
	a, ok := n.attachment(r.Attachment)
	if !ok {
		n.tb.Fatalf("%s is not registered", r.Attachment)
	}
	return a.Mode
}

func TestASwitchOfAPodEndsOnItsOwn(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		web, neighbour := newNS(t), newNS(t)
		n := newNode(t, finder, impatient)
		r := n.register(web, timing(inetdiag.CloseWait, soon))
		n.register(neighbour, timing(inetdiag.CloseWait, soon))
		nstest.Eventually(t, patience, "both are registered", func() bool { return n.status().Namespaces == 2 })
		view := n.set(state.Switch{Scope: scopeOf(r), Mode: policy.Observe, Until: n.now().Add(time.Hour), Reason: "INC-7"})
		if view.Effective != policy.Destroy || len(view.Switches) != 1 {
			t.Errorf("the node's mode is %v, with the switches %+v", view.Effective, view.Switches)
		}
		spared, gone := shut(t, web.Connect(t, nstest.IPv4)), shut(t, neighbour.Connect(t, nstest.IPv4))
		n.awaitDestroyed(gone.Server)
		n.awaitEntry(spared.Server, api.WouldDestroy)
		n.goOn()
		if m := n.modeOf(r); m != policy.Observe || n.outcomes(cookieOf(t, spared.Server))[api.Destroyed] != 0 {
			t.Errorf("after minutes the pod's mode is %v", m)
		}

		n.leap(time.Hour)
		n.awaitDestroyed(spared.Server)
		if s := n.status().Mode.Switches; len(s) > 0 {
			t.Errorf("the status still has %+v", s)
		}
	})
}

func TestSwitchesOfAPodAndItsNamespaceAreIndependent(t *testing.T) {
	ns := newNS(t)
	n := newNode(t, finders[0], impatient)
	r := n.register(ns, policy.Default())
	nstest.Eventually(t, patience, "it is registered", func() bool { return n.status().Namespaces == 1 })
	all, pod := state.Scope{Namespace: r.Pod.Namespace}, scopeOf(r)
	container := state.Scope{ID: r.ContainerID}
	for i, step := range []struct {
		sw   state.Switch
		want policy.Mode
	}{
		{state.Switch{Scope: all, Mode: policy.Observe}, policy.Observe},
		{state.Switch{Scope: pod, Mode: policy.Observe}, policy.Observe},
		{state.Switch{Scope: all, Mode: policy.Destroy}, policy.Observe},
		{state.Switch{Scope: pod, Mode: policy.Destroy}, policy.Destroy},
		{state.Switch{Scope: container, Mode: policy.Observe}, policy.Observe},
		{state.Switch{Mode: policy.Observe}, policy.Observe},
		{state.Switch{Scope: container, Mode: policy.Destroy}, policy.Observe},
		{state.Switch{Mode: policy.Destroy}, policy.Destroy},
		{state.Switch{Scope: state.Scope{Namespace: "other"}, Mode: policy.Observe}, policy.Destroy},
	} {
		n.set(step.sw)
		if m := n.modeOf(r); m != step.want {
			t.Errorf("step %d: mode %v, want %v", i, m, step.want)
		}
	}
}

// TestAnyPodOfANetworkNamespaceCapsIt registers a network namespace for two pods.
func TestAnyPodOfANetworkNamespaceCapsIt(t *testing.T) {
	ns := newNS(t)
	n := newNode(t, finders[0], impatient)
	first := n.register(ns, policy.Default())
	second := first
	second.ContainerID, second.Pod.Name = "other", "other"
	if err := n.store.Put(second); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, patience, "both are registered", func() bool { return len(n.status().Attachments) == 2 })
	n.set(state.Switch{Scope: scopeOf(second), Mode: policy.Observe})
	for _, r := range []state.Record{first, second} {
		if a, _ := n.attachment(r.Attachment); a.Mode != policy.Observe || len(a.CappedBy) != 1 {
			t.Errorf("%s has mode %v, capped by %q", r.ContainerID, a.Mode, a.CappedBy)
		}
	}
}

func TestASwitchOfAPodAppliesEvenIfItCannotBeWritten(t *testing.T) {
	ns := newNS(t)
	n := newNode(t, finders[0], impatient, func(c *reaper.Config) { c.SwitchPath = filepath.Join("/proc", "there is no such directory", "mode") })
	r := n.register(ns, policy.Default())
	nstest.Eventually(t, patience, "it is registered", func() bool { return n.status().Namespaces == 1 })
	for _, tt := range []struct{ set, want policy.Mode }{{policy.Observe, policy.Observe}, {policy.Destroy, policy.Observe}} {
		_, err := n.SetMode(context.Background(), state.Switch{Scope: scopeOf(r), Mode: tt.set, Who: "alice", When: time.Now()})
		if m := n.modeOf(r); !errors.Is(err, fs.ErrNotExist) || m != tt.want {
			t.Errorf("after %v the mode is %v: %v", tt.set, m, err)
		}
	}
}

func TestADryRunCountsWhatASwitchKeeps(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		web, observed, neighbour := newNS(t), newNS(t), newNS(t)
		n := newNode(t, finder, impatient)
		r := n.register(web, timing(inetdiag.CloseWait, soon))
		other := n.register(observed, timing(inetdiag.CloseWait, soon, observe))
		n.register(neighbour, timing(inetdiag.CloseWait, 100*time.Hour))
		nstest.Eventually(t, patience, "all are registered", func() bool { return n.status().Namespaces == 3 })
		n.set(state.Switch{Mode: policy.Observe})
		leak := shut(t, web.Connect(t, nstest.IPv4))
		second := shut(t, web.Connect(t, nstest.IPv4))
		kept, within := shut(t, observed.Connect(t, nstest.IPv4)), shut(t, neighbour.Connect(t, nstest.IPv4))
		for _, p := range []nstest.Pair{leak, second, kept} {
			n.awaitEntry(p.Server, api.WouldDestroy)
		}
		n.awaitVerdict(within.Server, policy.WithinGrace)

		run := n.dryRun(state.Scope{})
		if run.Destroys != 2 || run.Questions != 0 || len(run.Pods) != 3 {
			t.Errorf("the node: %+v", run)
		}
		for _, p := range run.Pods {
			switch p.ContainerID {
			case r.ContainerID:
				if p.Destroys != 2 || p.Kept != 0 || p.Mode != policy.Destroy || len(p.CappedBy) > 0 {
					t.Errorf("the leaks: %+v", p)
				}
			case other.ContainerID:
				if p.Destroys != 0 || p.Kept == 0 || p.Mode != policy.Observe || !slices.Equal(p.CappedBy, []string{"its policy, mode observe"}) {
					t.Errorf("the observed pod: %+v", p)
				}
			default:
				if p.Destroys != 0 || p.Kept != 0 || p.HalfClosed == 0 {
					t.Errorf("the neighbour: %+v", p)
				}
			}
		}
		// The node's switch would stay.
		if run := n.dryRun(scopeOf(r)); run.Destroys != 0 || len(run.Pods) != 1 || run.Pods[0].Kept != 2 || len(run.Pods[0].CappedBy) != 1 {
			t.Errorf("the pod: %+v", run)
		}
		n.goOn()
		for _, p := range []nstest.Pair{leak, second, kept, within} {
			if got := n.outcomes(cookieOf(t, p.Server)); got[api.Destroyed] != 0 {
				t.Errorf("after the dry run the history has %v", got)
			}
		}
		n.set(state.Switch{Mode: policy.Destroy})
		n.awaitDestroyed(leak.Server)
		n.awaitDestroyed(second.Server)
	})
}

func (n *node) dryRun(scope state.Scope) api.DryRun {
	n.tb.Helper()
	run, err := n.DryRun(context.Background(), scope)
	if err != nil {
		n.tb.Fatal(err)
	}
	return run
}
