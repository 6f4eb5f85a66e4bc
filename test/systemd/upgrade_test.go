// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// previousVersion is the version of the release before.
const previousVersion = "previous"

// upgrade replaces the release before by the build under test, and goBack does the reverse, as docs/install.md says.
func (m *machine) upgrade() { m.follow("## Upgrade\n", unpacked) }
func (m *machine) goBack()  { m.follow("## Upgrade\n", previous) }

// aging is the configuration of attachments whose CLOSE_WAIT sockets have a grace of four seconds.
const aging = `, "reaper": "external", "closeWaitGrace": "4s", "finWait2Grace": "1h"`

// reads waits until the reaper, of either version, has these attachments, and checks that their policies apply.
func (m *machine) reads(when string, previous bool, want ...string) {
	m.t.Helper()
	var got []string
	nstest.Eventually(m.t, testnode.Patience, when+": the reaper has all attachments", func() bool {
		s, err := m.node().Client.Status(m.t.Context())
		if err != nil {
			return false
		}
		got = nil
		for _, a := range s.Attachments {
			if a.Inert != "" {
				m.t.Errorf("%s: %s is inert: %s", when, a.ContainerID, a.Inert)
			}
			got = append(got, a.ContainerID)
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
	s := m.status()
	if (s.Version.Version == previousVersion) != previous || s.Holder.StartedBy != api.BySystemd {
		m.t.Errorf("%s: the reaper is %v, of version %v", when, s.Holder, s.Version)
	}
	if s.Mode.Effective != policy.Observe || s.Mode.Switch == nil || s.Mode.Switch.Mode != policy.Observe {
		m.t.Errorf("%s: the mode is %+v", when, s.Mode)
	}
}

// halfClosed reports whether a socket is half-closed in the kernel.
func (m *machine) halfClosed(c testnode.Conn) bool {
	m.t.Helper()
	v, _, err := m.node().FindSocket(c, api.SocketQuery{All: true})
	if err != nil {
		m.t.Fatal(err)
	}
	return v.State.HalfClosed()
}

// kept checks that neither the leak nor the busy connection was destroyed.
func (m *machine) kept(when string, p *process) {
	m.t.Helper()
	if !m.halfClosed(p.Leak) || !m.halfClosed(p.Busy) {
		m.t.Errorf("%s: a socket was destroyed", when)
	}
}

// keepsAges checks that another reaper knows the ages of the sockets, including the age that the kernel does not prove.
func (m *machine) keepsAges(when string, p *process, leak, busy time.Duration) {
	m.t.Helper()
	if now := m.knownAge(p.Leak); now < leak {
		m.t.Errorf("%s: the leak was %v old, and is %v old", when, leak, now)
	}
	if now := m.knownAge(p.Busy); now < busy {
		m.t.Errorf("%s: the half-closed connection that is in use was %v old, and is %v old", when, busy, now)
	}
}

// agePastGrace waits until both half-closed sockets are older than the grace of the leak, and returns their ages.
func (m *machine) agePastGrace(p *process) (leak, busy time.Duration) {
	m.t.Helper()
	nstest.Eventually(m.t, testnode.Patience, "the leak is past its grace", func() bool {
		leak, busy = m.age(p.Leak), m.age(p.Busy)
		return min(leak, busy) > 5*time.Second
	})
	return leak, busy
}

func TestAnUpgradeKeepsRegistrationsAgesAndTheSwitch(t *testing.T) {
	t.Parallel()
	m := newPreviousMachine(t)
	m.boot()
	m.goBack() // to the release before, which is the first here
	m.run("halfclose", "mode", "observe")
	p := m.start(aging)
	m.add("removed", aging)
	m.reads("before", true, "removed", "web")
	leak, busy := m.agePastGrace(p)

	m.upgrade()
	m.reads("after the upgrade", false, "removed", "web")
	m.kept("after the upgrade", p)
	m.keepsAges("after the upgrade", p, leak, busy)
	m.add("zlater", aging)
	m.reads("with another container", false, "removed", "web", "zlater")

	m.run("halfclose", "mode", "destroy")
	m.destroyed(p.Leak)
	if leak, live := p.write(); leak != "ECONNABORTED" || live != "ok" {
		t.Errorf("a write to the leak returns %s, and to the open connection %s", leak, live)
	}
	if !m.halfClosed(p.Busy) {
		t.Error("the half-closed connection that is in use was destroyed")
	}

	// DEL by the new plugin of an attachment of the old one.
	m.call("DEL", "removed", aging)
	if _, err := m.node().Store.Get(state.Attachment{ContainerID: "removed", IfName: "eth0"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after DEL the record still exists: %v", err)
	}
	nstest.Eventually(t, testnode.Patience, "the reaper has forgotten the attachment", func() bool { return len(m.status().Attachments) == 2 })
}

func TestGoingBackKeepsRegistrationsAgesAndTheSwitch(t *testing.T) {
	t.Parallel()
	m := newPreviousMachine(t)
	m.boot()
	m.upgrade()
	m.run("halfclose", "mode", "observe")
	p := m.start(aging)
	m.reads("before", false, "web")
	leak, busy := m.agePastGrace(p)

	m.goBack()
	m.reads("with the old release again", true, "web")
	m.kept("with the old release again", p)
	m.keepsAges("with the old release again", p, leak, busy)
	m.run("halfclose", "mode", "destroy")
	m.destroyed(p.Leak)
	if leak, live := p.write(); leak != "ECONNABORTED" || live != "ok" {
		t.Errorf("a write to the leak returns %s, and to the open connection %s", leak, live)
	}
	if !m.halfClosed(p.Busy) {
		t.Error("the half-closed connection that is in use was destroyed")
	}
}
