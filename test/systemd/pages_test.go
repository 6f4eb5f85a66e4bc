// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/testpage"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// follow runs the first commands after a text of docs/install.md, in a directory with a build in bin: the indented lines, without
// calls of make.
func (m *machine) follow(after, dir string) {
	const page = "docs/install.md"
	m.t.Helper()
	commands, err := testpage.Commands(filepath.Join(top, page), after)
	if err != nil {
		m.t.Fatal(err)
	}
	commands = slices.DeleteFunc(commands, func(command string) bool { return strings.HasPrefix(command, "make ") })
	if len(commands) < 3 {
		m.t.Fatalf("%s has only the commands %q after %q", page, commands, after)
	}
	m.run("sh", "-ec", "cd "+dir+"\n"+strings.Join(commands, "\n"))
}

func TestABuildIsInstalledAsPrinted(t *testing.T) {
	t.Parallel()
	m := newBareMachine(t)
	m.boot()
	m.follow("To use a build on a node:\n", unpacked)
	p := m.start(`, "closeWaitGrace": "1s", "finWait2Grace": "1h"`)
	m.node().AwaitEntry(p.Leak, api.WouldDestroy)
	if s := m.status(); s.Holder.StartedBy != api.ByPlugin || s.Mode.Effective != policy.Observe || !m.halfClosed(p.Leak) {
		t.Errorf("the reaper is %v, and its mode %+v", s.Holder, s.Mode)
	}
	if b, err := os.ReadFile(m.at("/etc/cni/net.d/10-net.conflist")); err != nil || !strings.Contains(strings.ReplaceAll(string(b), " ", ""), `"type":"halfclose"`) {
		t.Errorf("the network is %s, %v", b, err)
	}
	m.follow("it lists only leaked sockets, allow destruction:\n", unpacked)
	m.destroyed(p.Leak)
	if leak, live := p.write(); leak != "ECONNABORTED" || live != "ok" {
		t.Errorf("a write to the leak returns %s, and to the open connection to %s", leak, live)
	}
	if !m.halfClosed(p.Busy) {
		t.Error("the half-closed connection that is in use was destroyed")
	}
}
