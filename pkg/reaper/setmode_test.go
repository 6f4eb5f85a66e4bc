// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// TestObserveAppliesEvenIfItCannotBeWritten sets observe on a node whose switch cannot be written, as with a full disk.
// It must apply to the running reaper.
func TestObserveAppliesEvenIfItCannotBeWritten(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		nowhere := filepath.Join("/proc", "there is no such directory", "mode")
		ns := newNS(t)
		n := newNode(t, finder, impatient, func(c *reaper.Config) { c.SwitchPath = nowhere })
		n.register(ns, timing(inetdiag.CloseWait, soon))

		view, err := n.SetMode(context.Background(), state.Switch{Mode: policy.Observe, Who: "alice", When: time.Now()})
		if !errors.Is(err, fs.ErrNotExist) || view.Effective != policy.Observe || view.Switch == nil || view.Switch.Who != "alice (until this reaper exits)" {
			t.Errorf("mode %v by %+v: %v", view.Effective, view.Switch, err)
		}
		spared := shut(t, ns.Connect(t, nstest.IPv4))
		n.awaitEntry(spared.Server, api.WouldDestroy)
		n.goOn()
		if got := n.outcomes(cookieOf(t, spared.Server)); got[api.Destroyed] != 0 {
			t.Errorf("the history has %v", got)
		}

		if _, err := n.SetMode(context.Background(), state.Switch{Mode: policy.Destroy, Who: "alice", When: time.Now()}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("destroy could not be written either, and that is what is said: %v", err)
		}
		n.goOn()
		if got := n.outcomes(cookieOf(t, spared.Server)); got[api.Destroyed] != 0 {
			t.Errorf("the cap was lifted although its file was not written: the history has %v", got)
		}
	})
}
