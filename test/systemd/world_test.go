// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
)

// The unit's directories.
const (
	runtimeDir = "/run/halfclose"
	stateDir   = "/var/lib/halfclose"
)

// The paths of the programs.
const (
	command      = "/usr/local/bin/halfclose"
	pluginSource = "/usr/local/lib/halfclose/cni/halfclose" // install's source
	pluginDir    = "/opt/cni/bin"                           // the runtime's plugins
	unpacked     = "/opt/halfclose"                         // a build in bin, not installed
	previous     = "/opt/previous"                          // the release before in bin, not installed
)

// at returns the path of a file of the machine on the node.
func (m *machine) at(path string) string { return fmt.Sprintf("/proc/%d/root%s", m.pid, path) }

// node returns the machine's state directory, with queries to its reaper.
func (m *machine) node() *testnode.Node { return testnode.New(m.t, m.at(runtimeDir)) }

// network returns a plugin configuration with additional keys.
func network(more string) string {
	return `{"cniVersion": "1.0.0", "name": "net", "type": "halfclose", "prevResult": {"cniVersion": "1.0.0"}` + more + `}`
}

// hold is the configuration of attachments that are only observed. The grace determines how often the reaper looks.
const hold = `, "reaper": "external", "mode": "observe", "grace": "4s"`

// destroy is the configuration of attachments whose CLOSE_WAIT sockets are destroyed after one second.
const destroy = `, "reaper": "external", "closeWaitGrace": "1s", "finWait2Grace": "1h"`

// add creates a named network namespace and calls ADD, as a runtime does.
func (m *machine) add(name, more string) {
	m.t.Helper()
	m.run("ip", "netns", "add", name)
	m.call("ADD", name, more)
}

// call calls a verb of the plugin for the attachment of this name, as a runtime does.
func (m *machine) call(verb, name, more string) {
	m.t.Helper()
	cmd := m.command("env", "CNI_COMMAND="+verb, "CNI_CONTAINERID="+name, "CNI_IFNAME=eth0", "CNI_NETNS=/run/netns/"+name, "CNI_PATH="+pluginDir,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME="+name, pluginDir+"/halfclose")
	cmd.Stdin = strings.NewReader(network(more))
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v\n%s", verb, err, out)
	}
}

// start adds a container named web and starts its process, as a user without privileges.
func (m *machine) start(more string) *process {
	m.t.Helper()
	m.add("web", more)
	m.run("ip", "-n", "web", "link", "set", "lo", "up")
	cmd := m.command("nsenter", "--net=/run/netns/web", "setpriv", "--reuid="+strconv.Itoa(otherUser), "--clear-groups", container)
	return startContainer(m.t, cmd, cmd.Start)
}

// age returns the age of a socket that the reaper reports, 0 if the reaper has not looked at it. A reaper of another version
// may have verdicts that are unknown here.
func (m *machine) age(c testnode.Conn) time.Duration {
	v, _, err := m.node().FindSocket(c, api.SocketQuery{})
	if err != nil || v.Age == nil || strings.Contains(v.Why, "not looked at yet") { // an error between two reapers
		return 0
	}
	return time.Duration(*v.Age)
}

// knownAge waits until the reaper knows a socket.
func (m *machine) knownAge(a testnode.Conn) (age time.Duration) {
	m.t.Helper()
	nstest.Eventually(m.t, testnode.Patience, "the leak is known", func() bool {
		age = m.age(a)
		return age > 0
	})
	return age
}

// status returns the status of the reaper.
func (m *machine) status() api.Status {
	m.t.Helper()
	s, err := m.node().Client.Status(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// destroyed waits until the history has a destroyed socket.
func (m *machine) destroyed(c testnode.Conn) api.Entry {
	m.t.Helper()
	return m.node().AwaitEntry(c, api.Destroyed)
}

// active waits until the service is ready with another main process than before, and returns its PID.
func (m *machine) active(before int) (pid int) {
	m.t.Helper()
	nstest.Eventually(m.t, testnode.Patience, "the service is active, with another process than before", func() bool {
		pid = m.mainPID()
		return m.property("ActiveState") == "active" && pid != 0 && pid != before
	})
	return pid
}
