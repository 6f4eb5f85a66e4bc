// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
)

// In its own PID namespace, as in a container, the reaper sees no process of the pods.
func TestAReaperInItsOwnPIDNamespaceDestroysTheSameSocketsAndReportsItsLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	if r := run(t, w.plugin("ADD", c.attachment(), c.path, pluginConf(external+`, "closeWaitGrace": "1s", "finWait2Grace": "1h"`))); r.code != 0 {
		t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
	}
	before := leak(t, c)
	w.startApart(t)
	w.AwaitStatus()
	after := leak(t, c)
	for _, conn := range []net.Conn{before, after} {
		w.AwaitEntry(testnode.ConnOf(conn), api.Destroyed)
	}
	if os.Getenv(finderVar) != finder.NameBPF {
		return
	}
	nstest.Eventually(t, testnode.Patience, "status reports that it cannot see the processes", func() bool {
		f := w.AwaitStatus().Finder
		return f.Name == finder.NameBPF && strings.Contains(f.Why, "hostPID: true")
	})
}
