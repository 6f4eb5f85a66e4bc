// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
)

// A walk over the processes that a container sees shows nothing of the pods'.
func TestAReaperInAPIDNamespaceOfItsOwnDestroysTheSameAndSaysWhatItCannotSee(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	if r := run(t, w.plugin("ADD", c.attachment(), c.path, pluginConf(external+`, "closeWaitGrace": "1s", "finWait2Grace": "1h"`))); r.code != 0 {
		t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
	}
	before := leak(t, c)
	w.startApart(t)
	w.status(t)
	after := leak(t, c)
	for name, conn := range map[string]net.Conn{"before the reaper": before, "with it": after} {
		nstest.Eventually(t, soon, "the leak made "+name+" is destroyed", func() bool {
			page, err := w.admin.History(t.Context(), api.HistoryQuery{})
			return err == nil && slices.ContainsFunc(page.Entries, func(e api.Entry) bool {
				return e.Outcome == api.Destroyed && e.Local.String() == conn.LocalAddr().String() && e.Peer.String() == conn.RemoteAddr().String()
			})
		})
	}
	if os.Getenv(finderVar) != finder.NameBPF {
		return
	}
	nstest.Eventually(t, soon, "it says what it cannot see", func() bool {
		f := w.status(t).Finder
		return f.Name == finder.NameBPF && strings.Contains(f.Why, "hostPID: true")
	})
}
