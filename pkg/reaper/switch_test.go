// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// turn sets the node's mode switch.
func (n *node) turn(m policy.Mode) {
	n.tb.Helper()
	if err := state.StoreSwitch(n.switchPath, state.Switch{Mode: m, Who: "the test", When: time.Now()}); err != nil {
		n.tb.Fatal(err)
	}
}

// awaitMode waits until the node has this effective mode.
func (n *node) awaitMode(m policy.Mode) {
	n.tb.Helper()
	nstest.Eventually(n.tb, patience, "the mode is "+m.String(), func() bool { return n.status().Mode.Effective == m })
}
