// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// mistakes returns changes that make four mistakes in the shipped configuration.
func mistakes() []string {
	return []string{
		`"mode": "destroy",`, `"mode": "destroyy", "gracee": "1m", "exempt": [{"peers": "10.0.0.0/40"}],`,
		`"grace": "1h"`, `"grace": "an hour"`,
	}
}

// paths lists the paths of these mistakes.
var paths = []string{"$.mode", "$.gracee", "$.exempt[0].peers", "$.grace"}

// unnamed returns the paths with which no line begins.
func unnamed(lines []string) (missing []string) {
	for _, path := range paths {
		found := false
		for _, line := range lines {
			found = found || strings.HasPrefix(line, path+": ")
		}
		if !found {
			missing = append(missing, path)
		}
	}
	return missing
}

func TestAWrongConflistUnderFailNamesEveryMistakeAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	list := network(t, append(mistakes(), `"failurePolicy": "ignore"`, `"failurePolicy": "fail"`)...)
	_, err := w.cni.AddNetworkList(t.Context(), list, c.runtime)
	defer func() { // as a runtime does after an ADD that failed
		if err := w.cni.DelNetworkList(t.Context(), list, c.runtime); err != nil {
			t.Errorf("DEL after the ADD that failed: %v", err)
		}
	}()
	var e *types.Error
	if !errors.As(err, &e) || e.Code != types.ErrInvalidNetworkConfig {
		t.Fatalf("ADD: %v, want a CNI error of code %d", err, types.ErrInvalidNetworkConfig)
	}
	if missing := unnamed(strings.Split(e.Details, "; ")); missing != nil {
		t.Errorf("the error does not name %v: %s", missing, e.Details)
	}
	if listing, err := w.Store.List(t.Context()); err != nil || len(listing.Records) > 0 {
		t.Errorf("records exist: %v, %v", listing.Records, err)
	}
}

func TestAWrongConflistUnderIgnoreIsObservedWithEveryMistakeInStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	w.add(t, network(t, mistakes()...), c)
	if said := w.exec.stderr["halfclose ADD"]; strings.Count(said, "\n") != len(paths) {
		t.Errorf("stderr is\n%swant %d lines", said, len(paths))
	}
	w.AwaitStatus()
	s := statusOf(t, w)
	a := s.Attachments[0]
	if a.Mode != policy.Observe || a.Policy.Mode != policy.Observe {
		t.Errorf("the mode is %v, of the policy %v", a.Mode, a.Policy.Mode)
	}
	if missing := unnamed(a.Warnings); missing != nil {
		t.Errorf("the warnings do not name %v: %q", missing, a.Warnings)
	}
	// The table shows the mistakes too.
	if got := w.run(t, "status").stdout; !strings.Contains(got, "$.exempt[0].peers") {
		t.Errorf("the table does not show the mistakes:\n%s", got)
	}
}

func TestAnObservedLeakIsInTheHistoryAndNotDestroyed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, map[string]string{"halfclose.cni/mode": "observe", "halfclose.cni/grace": "1s"})
	w.add(t, network(t), c)
	w.AwaitStatus()
	conn := leak(t, c)
	w.AwaitEntry(testnode.ConnOf(conn), api.WouldDestroy)
	entries, err := w.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Outcome != api.WouldDestroy {
			t.Errorf("the history has %+v", e)
		}
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Errorf("it was destroyed: %v", err)
	}
}

func TestAWrongAnnotationLeavesThePodRunningAndObservedAndShowsInStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, map[string]string{
		"halfclose.cni/grace":           "testnode.Patience",
		"halfclose.cni/close-wait-grce": "1m",
		"halfclose.cni/fin-wait2-grace": "never",
		"kubernetes.io/something-else":  "testnode.Patience",
	})
	w.add(t, network(t), c)
	w.AwaitStatus()
	a := statusOf(t, w).Attachments[0]
	want := policy.Default()
	want.Mode, want.FinWait2Grace = policy.Observe, policy.Never
	want.Sources = nil // JSON has them in another field
	if diff := cmp.Diff(want, policy.Policy(a.Policy)); diff != "" {
		t.Errorf("policy (-want +got)\n%s", diff)
	}
	if a.Mode != policy.Observe {
		t.Errorf("the mode is %v", a.Mode)
	}
	if len(a.Warnings) != 2 || !strings.Contains(a.Warnings[0], "halfclose.cni/grace:") || !strings.Contains(a.Warnings[1], "close-wait-grce") {
		t.Errorf("the warnings are %q", a.Warnings)
	}
}
