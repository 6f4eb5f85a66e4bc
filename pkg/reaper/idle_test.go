// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

func TestIdleExit(t *testing.T) {
	soonIdle := func(c *reaper.Config) { c.IdleExit = 100 * time.Millisecond }
	ended := func(n *node) {
		n.tb.Helper()
		nstest.Eventually(n.tb, patience, "the reaper exits", func() bool {
			_, err := n.Status(context.Background())
			return errors.Is(err, api.ErrStopped)
		})
		if err := n.stop(); !errors.Is(err, reaper.ErrIdle) {
			n.tb.Errorf("Run returned %v, want ErrIdle", err)
		}
	}
	eachFinder(t, func(t *testing.T, finder string) {
		t.Run("without a record", func(t *testing.T) {
			t.Parallel()
			ended(newNode(t, finder, soonIdle))
		})
		t.Run("once the last record is gone, and not before", func(t *testing.T) {
			t.Parallel()
			ns := newNS(t)
			n := offNode(t)
			r := n.register(ns, timing(inetdiag.CloseWait, soon))
			n.start(finder, soonIdle)
			n.outlive(ns, inetdiag.CloseWait) // longer than the idle time
			if err := n.store.Delete(r.Attachment); err != nil {
				t.Fatal(err)
			}
			ended(n)
		})
		t.Run("never, unless that is asked for", func(t *testing.T) {
			t.Parallel()
			n := newNode(t, finder)
			ended(newNode(t, finder, soonIdle))
			if err := n.Ready(context.Background()); err != nil {
				t.Errorf("the other reaper: %v", err)
			}
		})
	})
}

func TestKernelProblemIsInTheStatus(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for name, tc := range map[string]struct {
			err     error
			mode    policy.Mode
			problem string
		}{
			"a kernel that cannot":      {inetdiag.ErrUnsupported, policy.Observe, "CONFIG_INET_DIAG_DESTROY"},
			"a lack of privileges":      {inetdiag.ErrDenied, policy.Observe, "CAP_NET_ADMIN"},
			"a probe that did not work": {errors.New("no loopback"), policy.Destroy, ""},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n := newNode(t, finder, func(c *reaper.Config) { c.Kernel = func() error { return tc.err } })
				m := n.status().Mode
				if m.Effective != tc.mode || !strings.Contains(m.KernelProblem, tc.problem) || (tc.problem == "") != (m.KernelProblem == "") {
					t.Errorf("the status problem %+v", m)
				}
			})
		}
	})
}

func TestStoppedReaperReturnsErrStopped(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		n := newNode(t, finder)
		nstest.Eventually(t, patience, "it is ready", func() bool { return n.Ready(context.Background()) == nil })
		if err := n.stop(); err != nil {
			t.Errorf("Run returned %v at a clean stop", err)
		}
		if _, err := n.Sockets(context.Background(), api.SocketQuery{}); !errors.Is(err, api.ErrStopped) {
			t.Errorf("Sockets: %v", err)
		}
		if _, err := n.History(context.Background(), api.HistoryQuery{}); !errors.Is(err, api.ErrStopped) {
			t.Errorf("History: %v", err)
		}
		if err := n.Ready(context.Background()); !errors.Is(err, api.ErrStopped) {
			t.Errorf("Ready: %v", err)
		}
	})
}
