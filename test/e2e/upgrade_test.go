// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/test/node"
)

// previousVersion is the version of the release before.
const previousVersion = "previous"

// upgrade is a world with the directories of a node that has the release before.
type upgrade struct {
	*world
	previous string // its command
	binDir   string // the runtime's plugins
	confDir  string // and the networks
}

// newUpgrade creates the directories of a node with an installation of that release.
func newUpgrade(t *testing.T) *upgrade {
	t.Helper()
	w := newWorld(t)
	u := &upgrade{
		world: w, previous: filepath.Join(node.NeedPrevious(t), "bin/halfclose"),
		binDir: filepath.Join(w.dir, "cni/bin"), confDir: filepath.Join(w.dir, "cni/net.d"),
	}
	for _, dir := range []string{u.binDir, u.confDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, plugin := range []string{"bridge", "host-local", "tuning"} {
		if err := os.Symlink(filepath.Join(pluginDir(), plugin), filepath.Join(u.binDir, plugin)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(conflist)
	if err == nil {
		err = os.WriteFile(filepath.Join(u.confDir, "10-pods.conflist"), b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	u.installPrevious(t)
	w.cni = libcni.NewCNIConfigWithCacheDir([]string{u.binDir}, filepath.Join(t.TempDir(), "cache"), w.exec)
	return u
}

// installPrevious installs the release before, and install the programs under test.
func (u *upgrade) installPrevious(t *testing.T) {
	t.Helper()
	u.old(t, "install", "--cni-bin-dir", u.binDir, "--cni-conf-dir", u.confDir)
}

func (u *upgrade) install(t *testing.T) {
	t.Helper()
	if r := u.run(t, "install", "--cni-bin-dir", u.binDir, "--cni-conf-dir", u.confDir); r.code != 0 {
		t.Fatalf("install: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// old runs a command of the release before that must succeed.
func (u *upgrade) old(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(u.previous, args...)
	cmd.Env = append(os.Environ(), u.exec.env...)
	if r := run(t, cmd); r.code != 0 {
		t.Fatalf("%s of the release before: exit code %d\n%s%s", args[0], r.code, r.stdout, r.stderr)
	}
}

// prints checks that the output of a command has all texts.
func (u *upgrade) prints(t *testing.T, command string, texts ...string) {
	t.Helper()
	args := []string{command, "--output", "wide"}
	if command == "doctor" {
		args = append(args, "--all", "--cni-bin-dir", u.binDir, "--cni-conf-dir", u.confDir)
	}
	r := u.run(t, args...)
	for _, text := range texts {
		if !strings.Contains(r.stdout, text) {
			t.Errorf("%s does not say %q:\n%s%s", command, text, r.stdout, r.stderr)
		}
	}
}

// network returns the node's network. Sockets in CLOSE_WAIT have a grace of four seconds.
func (u *upgrade) network(t *testing.T) *libcni.NetworkConfigList {
	t.Helper()
	return network(t, `"grace": "1h"`, `"grace": "1h", "closeWaitGrace": "4s"`)
}

// container adds a container to the network.
func (u *upgrade) container(t *testing.T) *container {
	t.Helper()
	c := newContainer(t, nil)
	u.add(t, u.network(t), c)
	return c
}

// names returns the sorted container IDs of the reaper's attachments.
func (u *upgrade) names(t *testing.T) (names []string) {
	t.Helper()
	for _, a := range u.AwaitStatus().Attachments {
		if a.Inert != "" {
			t.Errorf("%s is inert: %s", a.ContainerID, a.Inert)
		}
		names = append(names, a.ContainerID)
	}
	slices.Sort(names)
	return names
}

// restart stops the reaper that a plugin started, and starts the next one by an ADD.
func (u *upgrade) restart(t *testing.T) *container {
	t.Helper()
	pid := u.AwaitStatus().Holder.PID
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testnode.AwaitExit(t, pid)
	c := u.container(t)
	if h := u.AwaitStatus().Holder; h.PID == pid || h.StartedBy != api.ByPlugin {
		t.Errorf("the reaper is %v", h)
	}
	return c
}

// keptAlive returns a leak with a keepalive probe every second: the kernel proves one second of its age, and the rest is
// known to reapers only.
func keptAlive(t *testing.T, c *container) *net.TCPConn {
	t.Helper()
	conn := leak(t, c)
	if err := conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 100}); err != nil {
		t.Fatal(err)
	}
	return conn
}

// atWork opens a connection in the same state as a leak, on which bytes move until the test ends.
func atWork(t *testing.T, c *container) *net.TCPConn {
	t.Helper()
	p := c.Connect(t, nstest.IPv4)
	if err := p.Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(io.Discard, p.Client) }) // until it is closed
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if _, err := p.Server.Write([]byte("x")); err != nil {
				select {
				case <-stop: // the cleanup has closed the client
				default:
					t.Errorf("write on the connection that is at work: %v", err)
				}
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		p.Client.Close()
		wg.Wait()
	})
	return p.Server
}

// spared checks that the switch is in force and no socket was destroyed.
func (u *upgrade) spared(t *testing.T, when string, conns ...*net.TCPConn) {
	t.Helper()
	if m := u.AwaitStatus().Mode; m.Effective != policy.Observe || m.Switch == nil || m.Switch.Mode != policy.Observe {
		t.Errorf("%s: the mode is %+v", when, m)
	}
	for _, c := range conns {
		if !lives(c) {
			t.Errorf("%s: the connection from %v was destroyed", when, c.RemoteAddr())
		}
	}
}

// agePastGrace waits until a leak and a connection in use are known to be half-closed for longer than the grace, and returns
// these ages.
func (u *upgrade) agePastGrace(t *testing.T, leak, busy *net.TCPConn) (ages [2]time.Duration) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, "the leak is past its grace", func() bool {
		ages = [2]time.Duration{u.age(leak), u.age(busy)}
		return min(ages[0], ages[1]) > 5*time.Second
	})
	return ages
}

// keepsAges checks that the reaper knows the ages that another reaper had, although the kernel does not prove them.
func (u *upgrade) keepsAges(t *testing.T, when string, leak, busy *net.TCPConn, ages [2]time.Duration) {
	t.Helper()
	for i, c := range []*net.TCPConn{leak, busy} {
		if now := u.knownAge(t, c); now < ages[i] {
			t.Errorf("%s: the connection from %v was half-closed for %v, and now is for %v", when, c.RemoteAddr(), ages[i], now)
		}
	}
}

// registers checks that the reaper has these attachments, and is of the release before or of the build under test.
func (u *upgrade) registers(t *testing.T, when string, previous bool, all ...*container) {
	t.Helper()
	var want []string
	for _, c := range all {
		want = append(want, c.runtime.ContainerID)
	}
	slices.Sort(want)
	if got := u.names(t); !slices.Equal(got, want) {
		t.Errorf("%s: the attachments are %q, want %q", when, got, want)
	}
	if v := u.AwaitStatus().Version.Version; (v == previousVersion) != previous {
		t.Errorf("%s: the reaper's version is %s", when, v)
	}
}

func TestAnUpgradeKeepsRegistrationsAgesAndTheSwitch(t *testing.T) {
	t.Parallel()
	u := newUpgrade(t)
	u.old(t, "mode", "observe")
	first, second := u.container(t), u.container(t)
	s := u.AwaitStatus()
	if s.Version.Version != previousVersion || s.Holder.StartedBy != api.ByPlugin {
		t.Fatalf("the reaper is %v, of version %v", s.Holder, s.Version)
	}
	leak, busy := keptAlive(t, first), atWork(t, first)
	ages := u.agePastGrace(t, leak, busy)

	u.prints(t, "doctor", "/halfclose is halfclose "+previousVersion+" (commit ", ", which ADD starts as the reaper, is halfclose "+previousVersion+" (commit ")
	// The programs are replaced. The old reaper keeps running, and reads the records of the new plugin.
	u.install(t)
	u.prints(t, "doctor", "/halfclose is of the same build as this", "ADD starts this command as the reaper")
	u.prints(t, "status", "version "+previousVersion, "this command is ", ", and the reaper is "+previousVersion+" (commit ")
	third := u.container(t)
	if now := u.AwaitStatus(); now.Holder.PID != s.Holder.PID {
		t.Errorf("the reaper is %v", now.Holder)
	}
	u.registers(t, "with the old reaper", true, first, second, third)
	u.spared(t, "with the old reaper", leak, busy)

	// It is stopped, and the next ADD starts the new one.
	fourth := u.restart(t)
	u.registers(t, "with the new reaper", false, first, second, third, fourth)
	u.keepsAges(t, "with the new reaper", leak, busy, ages)
	u.spared(t, "with the new reaper", leak, busy)

	if r := u.run(t, "mode", "destroy"); r.code != 0 {
		t.Errorf("mode destroy: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	destroyed(t, "the leak", leak)
	// A later leak is destroyed too, and the busy connection is kept.
	destroyed(t, "a later leak", keptAlive(t, first))
	if !lives(busy) {
		t.Error("the connection that is at work was destroyed")
	}

	// DEL by the new plugin of an attachment of the old one.
	if err := u.cni.DelNetworkList(context.Background(), u.network(t), second.runtime); err != nil {
		t.Errorf("DEL: %v", err)
	}
	if _, err := u.Store.Get(second.attachment()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after DEL the record is still there: %v", err)
	}
	nstest.Eventually(t, testnode.Patience, "the reaper has forgotten the attachment", func() bool {
		s, err := u.Client.Status(t.Context())
		return err == nil && len(s.Attachments) == 3
	})
}

func TestGoingBackKeepsRegistrationsAgesAndTheSwitch(t *testing.T) {
	t.Parallel()
	u := newUpgrade(t)
	u.install(t)
	if r := u.run(t, "mode", "observe"); r.code != 0 {
		t.Fatalf("mode observe: %s%s", r.stdout, r.stderr)
	}
	c := u.container(t)
	u.registers(t, "before", false, c)
	leak, busy := keptAlive(t, c), atWork(t, c)
	ages := u.agePastGrace(t, leak, busy)

	u.installPrevious(t)
	later := u.restart(t)
	u.registers(t, "with the old reaper again", true, c, later)
	u.keepsAges(t, "with the old reaper again", leak, busy, ages)
	u.spared(t, "with the old reaper again", leak, busy)
	u.old(t, "mode", "destroy")
	destroyed(t, "the leak", leak)
	destroyed(t, "a leak of the container that the old plugin added", keptAlive(t, later))
	if !lives(busy) {
		t.Error("the connection that is at work was destroyed")
	}
}

func TestTheCommandInThePluginsPlaceIsReportedAndDELStillSucceeds(t *testing.T) {
	t.Parallel()
	u := newUpgrade(t)
	if err := copyFile(halfclose(), filepath.Join(u.binDir, "halfclose.new")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(u.binDir, "halfclose.new"), filepath.Join(u.binDir, "halfclose")); err != nil {
		t.Fatal(err)
	}
	c := newContainer(t, nil)
	_, err := u.cni.AddNetworkList(t.Context(), u.network(t), c.runtime)
	if err == nil || !strings.Contains(err.Error(), "this is the halfclose command, not the CNI plugin") || !strings.Contains(err.Error(), "halfclose install") {
		t.Errorf("ADD: %v", err)
	}
	if err := u.cni.DelNetworkList(t.Context(), u.network(t), c.runtime); err != nil {
		t.Errorf("DEL: %v", err)
	}
}
