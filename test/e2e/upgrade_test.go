// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"encoding/json"
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
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/node"
)

// singleVersion is the version of the last single-program release.
const singleVersion = "single"

// upgrade is a world with the directories of a node that has the last single-program release.
type upgrade struct {
	*world
	single  string // the old program
	binDir  string // the runtime's plugins
	confDir string // and the networks
}

// newUpgrade creates the directories of a node with an installation of that release.
func newUpgrade(t *testing.T) *upgrade {
	t.Helper()
	w := newWorld(t)
	u := &upgrade{
		world: w, single: filepath.Join(node.NeedSingle(t), "bin/halfclose"),
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
	u.installSingle(t)
	w.cni = libcni.NewCNIConfigWithCacheDir([]string{u.binDir}, filepath.Join(t.TempDir(), "cache"), w.exec)
	return u
}

// installSingle installs the old program among the plugins, as its README.md said.
func (u *upgrade) installSingle(t *testing.T) {
	t.Helper()
	out, err := exec.Command("install", "-m", "755", u.single, filepath.Join(u.binDir, "halfclose")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// install installs the programs under test.
func (u *upgrade) install(t *testing.T) {
	t.Helper()
	if r := u.run(t, "install", "--cni-bin-dir", u.binDir, "--cni-conf-dir", u.confDir); r.code != 0 {
		t.Fatalf("install: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
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

// network returns the node's network without the keys that the old release does not know. Sockets in CLOSE_WAIT have a
// grace of four seconds.
func (u *upgrade) network(t *testing.T) *libcni.NetworkConfigList {
	t.Helper()
	return network(t, `"probeAfter": "90s",`, "", `"pendingGrace": "2h",`, "", `"grace": "1h"`, `"grace": "1h", "closeWaitGrace": "4s"`)
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

// singleAge returns the age of a leak that the old command prints, 0 if the old reaper does not know the leak.
func (u *upgrade) singleAge(t *testing.T, leak *net.TCPConn) time.Duration {
	t.Helper()
	old := exec.Command(u.single, "sockets", "--output", "json")
	old.Env = append(os.Environ(), u.exec.env...)
	r := run(t, old)
	var list struct {
		Sockets []struct {
			Local, Peer string
			AgeSeconds  float64
		}
	}
	if r.code != 0 || json.Unmarshal([]byte(r.stdout), &list) != nil {
		return 0
	}
	for _, s := range list.Sockets {
		if s.Local == leak.LocalAddr().String() && s.Peer == leak.RemoteAddr().String() {
			return time.Duration(s.AgeSeconds * float64(time.Second))
		}
	}
	return 0
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

func TestAnUpgradeFromTheSingleProgramKeepsRegistrationsAndTheSwitch(t *testing.T) {
	t.Parallel()
	u := newUpgrade(t)
	old := exec.Command(u.single, "mode", "observe")
	old.Env = append(os.Environ(), u.exec.env...)
	if r := run(t, old); r.code != 0 {
		t.Fatalf("mode observe: %s%s", r.stdout, r.stderr)
	}
	first, second := u.container(t), u.container(t)
	s := u.AwaitStatus()
	if s.Version.Version != singleVersion || s.Holder.StartedBy != api.ByPlugin {
		t.Fatalf("the reaper is %v, of version %v", s.Holder, s.Version)
	}
	leak, busy := keptAlive(t, first), atWork(t, first)
	nstest.Eventually(t, testnode.Patience, "the leak is past its grace", func() bool { return u.singleAge(t, leak) > 5*time.Second })

	u.prints(t, "doctor", "/halfclose does not report a build of halfclose: it is older than this")
	// The programs are replaced. The old reaper keeps running.
	u.install(t)
	u.prints(t, "doctor", "/halfclose is of the same build as this", "ADD starts this command as the reaper")
	u.prints(t, "status", "version "+singleVersion, "this command is ", ", and the reaper is "+singleVersion+" (commit ")
	third := u.container(t)
	if now := u.AwaitStatus(); now.Holder.PID != s.Holder.PID || now.Version.Version != singleVersion {
		t.Errorf("the reaper is %v, of version %v", now.Holder, now.Version)
	}
	// The old reaper cannot read records of the new plugin: it reports them, and does nothing in their namespaces.
	want := []string{first.runtime.ContainerID, second.runtime.ContainerID}
	slices.Sort(want)
	if got := u.names(t); !slices.Equal(got, want) {
		t.Errorf("with the old reaper the attachments are %q, want %q", got, want)
	}
	u.unread(t, third)
	u.spared(t, "with the old reaper", leak, busy)

	// It is stopped, and the next ADD starts the new one.
	fourth := u.restart(t)
	if v := u.AwaitStatus().Version.Version; v == singleVersion {
		t.Errorf("the new reaper's version is %s", v)
	}
	want = append(want, third.runtime.ContainerID, fourth.runtime.ContainerID)
	slices.Sort(want)
	if got := u.names(t); !slices.Equal(got, want) {
		t.Errorf("with the new reaper the attachments are %q, want %q", got, want)
	}
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

// unread waits until the reaper reports a container's record as unreadable.
func (u *upgrade) unread(t *testing.T, c *container) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, "the record is reported", func() bool {
		return slices.ContainsFunc(u.AwaitStatus().Problems, func(p api.ProblemView) bool {
			return strings.HasPrefix(p.File, c.runtime.ContainerID+"@")
		})
	})
}

func TestGoingBackToTheSingleProgramKeepsTheSwitchAndDestroysNothing(t *testing.T) {
	t.Parallel()
	u := newUpgrade(t)
	u.install(t)
	if r := u.run(t, "mode", "observe"); r.code != 0 {
		t.Fatalf("mode observe: %s%s", r.stdout, r.stderr)
	}
	c := u.container(t)
	if v := u.AwaitStatus().Version.Version; v == singleVersion {
		t.Fatalf("the first reaper's version is %s", v)
	}
	leak, busy := keptAlive(t, c), atWork(t, c)
	nstest.Eventually(t, testnode.Patience, "the leak is past its grace", func() bool { return u.age(leak) > 5*time.Second })

	u.installSingle(t)
	later := u.restart(t)
	if v := u.AwaitStatus().Version.Version; v != singleVersion {
		t.Errorf("the reaper's version is %s, want %s", v, singleVersion)
	}
	if got := u.names(t); !slices.Equal(got, []string{later.runtime.ContainerID}) {
		t.Errorf("the attachments are %q, want %q alone", got, later.runtime.ContainerID)
	}
	u.unread(t, c)
	u.spared(t, "with the old reaper again", leak, busy)
	old := exec.Command(u.single, "mode", "destroy")
	old.Env = append(os.Environ(), u.exec.env...)
	if r := run(t, old); r.code != 0 {
		t.Fatalf("mode destroy: %s%s", r.stdout, r.stderr)
	}
	destroyed(t, "a leak of the container that the old plugin added", keptAlive(t, later))
	if !lives(leak) || !lives(busy) {
		t.Error("a connection was destroyed of which the old reaper has no record that it can read")
	}
	if _, err := u.Store.Get(state.Attachment{ContainerID: c.runtime.ContainerID, IfName: c.runtime.IfName}); err != nil {
		t.Error(err)
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
