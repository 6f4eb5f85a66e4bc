// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"os"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// awaitSweeps waits until the finder has swept n more namespaces.
func (n *node) awaitSweeps(more uint64) {
	n.tb.Helper()
	from := n.status().Finder.Sweeps
	nstest.Eventually(n.tb, patience, "the sweeps go on", func() bool { return n.status().Finder.Sweeps >= from+more })
}

// goOn repeatedly lets time pass, and lets the finder sweep the namespaces.
func (n *node) goOn() {
	n.tb.Helper()
	for range 3 {
		n.leap(lenient)
		n.awaitSweeps(2)
	}
}

// outcomes counts the history's entries of a socket, by outcome.
func (n *node) outcomes(cookie uint64) map[string]int {
	n.tb.Helper()
	found := make(map[string]int)
	for _, e := range n.history() {
		if e.Cookie == cookie {
			found[e.Outcome]++
		}
	}
	return found
}

func TestObserveDestroysNothingAndRecordsOnce(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for name, tc := range map[string]struct {
			record func(*policy.Policy)
			config func(*reaper.Config)
			capped string
		}{
			"by the record":        {observe, func(*reaper.Config) {}, ""},
			"by the reaper's mode": {nothingElse, func(c *reaper.Config) { c.Mode = policy.Observe }, "--mode observe"},
			"by a kernel that cannot destroy": {nothingElse, func(c *reaper.Config) {
				c.Kernel = func() error { return inetdiag.ErrUnsupported }
			}, "CONFIG_INET_DIAG_DESTROY"},
			"by a lack of privileges": {nothingElse, func(c *reaper.Config) {
				c.Kernel = func() error { return inetdiag.ErrDenied }
			}, "CAP_NET_ADMIN"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ns := newNS(t)
				n := newNode(t, finder, tc.config, impatient)
				r := n.register(ns, timing(inetdiag.CloseWait, soon, tc.record))
				pairs := []nstest.Pair{shut(t, ns.Connect(t, nstest.IPv4)), shut(t, ns.Connect(t, nstest.IPv6))}
				for _, p := range pairs {
					n.awaitEntry(p.Server, "would-destroy")
				}
				n.goOn()
				for _, p := range pairs {
					if got := n.outcomes(cookieOf(t, p.Server)); len(got) != 1 || got["would-destroy"] != 1 {
						t.Errorf("the history has %v of a socket", got)
					}
					v, ok := n.find(p.Server, api.SocketQuery{})
					if !ok || v.Verdict != policy.WouldDestroy || v.Mode != policy.Observe || !strings.Contains(v.Why, "but the mode is observe") {
						t.Errorf("listed as %v in mode %v: %s", v.Verdict, v.Mode, v.Why)
					}
					answers(t, p)
				}
				s, _ := n.attachment(r.Attachment)
				if s.Destroyed != 0 || s.WouldDestroy != 2 || s.Mode != policy.Observe || !strings.Contains(strings.Join(s.CappedBy, "; "), tc.capped) {
					t.Errorf("status: %d destroyed, %d would be, mode %v capped by %q", s.Destroyed, s.WouldDestroy, s.Mode, s.CappedBy)
				}
			})
		}
	})
}

func TestObserveRecordsASocketAgainAfterProgress(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := newNode(t, finder)
		n.register(ns, timing(inetdiag.CloseWait, soon, observe))
		p := shut(t, ns.Connect(t, nstest.IPv4))
		cookie := cookieOf(t, p.Server)
		n.awaitEntry(p.Server, "would-destroy")
		answers(t, p)
		nstest.Eventually(t, patience, "it is recorded again", func() bool { return n.outcomes(cookie)["would-destroy"] == 2 })
	})
}

func TestOffDoesNothing(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		t.Run("by the record", func(t *testing.T) {
			t.Parallel()
			ns, other := newNS(t), newNS(t)
			n := newNode(t, finder)
			n.register(ns, timing(inetdiag.CloseWait, soon, func(p *policy.Policy) { p.Mode = policy.Off }))
			n.register(other, timing(inetdiag.CloseWait, soon))
			p := shut(t, ns.Connect(t, nstest.IPv4))
			n.outlive(other, inetdiag.CloseWait)
			n.stillSpared(p.Server, live, policy.ModeOff)
			answers(t, p)
		})
		t.Run("by the reaper's mode", func(t *testing.T) {
			t.Parallel()
			ns := newNS(t)
			n := newNode(t, finder, impatient, func(c *reaper.Config) { c.Mode = policy.Off })
			n.register(ns, timing(inetdiag.CloseWait, soon))
			p := shut(t, ns.Connect(t, nstest.IPv4))
			n.awaitVerdict(p.Server, policy.ModeOff)
			n.goOn()
			n.untouched(p.Server)
			if v, _ := n.find(p.Server, api.SocketQuery{}); v.Why != "the mode is off" {
				t.Errorf("listed because %q", v.Why)
			}
			answers(t, p)
		})
	})
}

// TestSwitchTakesEffectOnARunningReaper sets the node's switch to each mode while a reaper works.
func TestSwitchTakesEffectOnARunningReaper(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := newNS(t)
		n := newNode(t, finder)
		r := n.register(ns, timing(inetdiag.CloseWait, soon))
		victim := func() nstest.Pair { return shut(t, ns.Connect(t, nstest.IPv4)) }
		n.awaitDestroyed(victim().Server)

		// It appears.
		n.turn(policy.Observe)
		n.awaitMode(policy.Observe)
		p := victim()
		n.awaitEntry(p.Server, "would-destroy")
		if s, _ := n.attachment(r.Attachment); !strings.HasPrefix(strings.Join(s.CappedBy, "; "), "the switch, set to observe by the test at ") {
			t.Errorf("capped by %q", s.CappedBy)
		}
		answers(t, p)

		// It changes: overdue sockets are destroyed, although the history has them as observed.
		n.turn(policy.Destroy)
		n.awaitDestroyed(p.Server)

		// It is garbage: its value may have been observe.
		if err := os.WriteFile(n.switchPath, []byte(`{"mode": "obs`), 0o600); err != nil {
			t.Fatal(err)
		}
		n.awaitMode(policy.Observe)
		if s := n.status().Mode; s.Switch != nil || !strings.Contains(s.SwitchProblem, n.switchPath) {
			t.Errorf("the status says %+v of the switch, problem %q", s.Switch, s.SwitchProblem)
		}
		p = victim()
		n.awaitEntry(p.Server, "would-destroy")
		answers(t, p)

		// It is off: no socket is destroyed or counted.
		n.turn(policy.Off)
		n.awaitMode(policy.Off)
		off := victim()
		n.awaitVerdict(off.Server, policy.ModeOff)
		n.awaitSweeps(2)
		n.untouched(off.Server)
		answers(t, off)

		// It is gone.
		if err := os.Remove(n.switchPath); err != nil {
			t.Fatal(err)
		}
		n.awaitDestroyed(p.Server)
		n.awaitDestroyed(off.Server)
	})
}

// TestIdleReaperNoticesTheSwitch sends the reaper no request: that would wake it up.
func TestIdleReaperNoticesTheSwitch(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		var log outputtest.Buffer
		n := newNode(t, finder, logTo(t, &log))
		n.awaitMode(policy.Destroy)
		n.turn(policy.Observe)
		nstest.Eventually(t, patience, "the change is logged", func() bool {
			return strings.Contains(log.String(), `msg="mode changed" mode=observe`)
		})
	})
}
