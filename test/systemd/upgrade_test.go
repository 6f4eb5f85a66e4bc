// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// singleVersion is the version of the last single-program release.
const singleVersion = "single"

// upgrade replaces the single program by two, and goBack does the reverse, as docs/install.md says.
func (m *machine) upgrade() { m.follow("docs/install.md", "### From one program\n", unpacked) }
func (m *machine) goBack()  { m.follow("docs/install.md", "### Back\n", single) }

// aging is the configuration of attachments whose CLOSE_WAIT sockets have a grace of four seconds.
const aging = `, "reaper": "external", "closeWaitGrace": "4s", "finWait2Grace": "1h"`

// reads waits until the reaper, of either version, has these attachments, and checks that their policies apply.
func (m *machine) reads(when string, single bool, want ...string) {
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
	if (s.Version.Version == singleVersion) != single || s.Holder.StartedBy != api.BySystemd {
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

// singleAge returns the age of a socket that the old command prints, 0 if the old reaper does not know the socket. Commands
// of the new version cannot list the sockets of the old reaper.
func (m *machine) singleAge(c testnode.Conn) time.Duration {
	m.t.Helper()
	out, code := m.try("halfclose", "sockets", "--output", "json")
	var list struct {
		Sockets []struct {
			Local, Peer string
			AgeSeconds  float64
		}
	}
	if code != 0 || json.Unmarshal([]byte(out), &list) != nil {
		return 0
	}
	for _, s := range list.Sockets {
		if at, err := testnode.ParseConn(s.Local, s.Peer); err == nil && at == c {
			return time.Duration(s.AgeSeconds * float64(time.Second))
		}
	}
	return 0
}

func TestAnUpgradeFromTheSingleProgramKeepsRegistrationsAndTheSwitch(t *testing.T) {
	t.Parallel()
	m := newSingleMachine(t)
	m.boot()
	m.run("halfclose", "mode", "observe")
	m.run("systemctl", "enable", "--now", "halfclose")
	p := m.start(aging)
	m.add("removed", aging)
	m.reads("before", true, "removed", "web")
	nstest.Eventually(t, testnode.Patience, "the leak is past its grace", func() bool { return m.singleAge(p.Leak) > 5*time.Second })

	m.upgrade()
	m.reads("after the upgrade", false, "removed", "web")
	m.kept("after the upgrade", p)
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

func TestGoingBackToTheSingleProgramKeepsTheSwitchAndDestroysNothing(t *testing.T) {
	t.Parallel()
	m := newSingleMachine(t)
	m.boot()
	m.upgrade()
	m.run("halfclose", "mode", "observe")
	p := m.start(aging)
	m.reads("before", false, "web")
	nstest.Eventually(t, testnode.Patience, "the leak is past its grace", func() bool { return m.age(p.Leak) > 5*time.Second })

	m.goBack()
	m.reads("with the old program again", true)
	nstest.Eventually(t, testnode.Patience, "the record that it cannot read is reported", func() bool { return len(m.status().Problems) == 1 })
	m.run("halfclose", "mode", "destroy")
	if leak, live := p.write(); leak != "ok" || live != "ok" {
		t.Errorf("a write to the leak returns %s, and to the open connection %s", leak, live)
	}
}

// TestTheOldLinkWouldRunThePlugin shows why docs/install.md installs the command first: the documentation of the single
// program made the command a link to the plugin.
func TestTheOldLinkWouldRunThePlugin(t *testing.T) {
	t.Parallel()
	m := newSingleMachine(t)
	m.boot()
	m.run("systemctl", "enable", "--now", "halfclose")
	m.run(unpacked+"/bin/halfclose", "install")
	if target, err := os.Readlink(m.at(command)); err != nil || target != pluginDir+"/halfclose" {
		t.Fatalf("the command is a link to %s: %v", target, err)
	}
	if out, code := m.try("systemctl", "restart", "halfclose"); code == 0 {
		t.Errorf("the service starts: %s", out)
	}
	m.logged("CNI plugin halfclose ", "-p", "err")
	m.run("install", "-m", "755", unpacked+"/bin/halfclose", command)
	m.active(0) // systemd retries
}
