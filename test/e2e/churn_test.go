// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/state"
)

// The test calls ADD and DEL a thousand times in short-lived namespaces with a leak in each, while a reaper is running.
func TestAThousandRoundsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t)
	w.holds(t, p.PID())
	descriptorsBefore := w.descriptorsWithoutHistory(t, p.PID())

	const rounds, perNamespace = 1000, 50
	began := time.Now()
	t.Run("rounds", func(t *testing.T) { // which waits for its parallel subtests
		for i := range rounds / perNamespace {
			t.Run(fmt.Sprintf("namespace %d", i), func(t *testing.T) {
				t.Parallel()
				w.churn(t, i, perNamespace)
			})
		}
	})
	t.Logf("%d rounds in %v", rounds, time.Since(began))

	if s := w.AwaitStatus(); s.Namespaces != 0 {
		t.Errorf("the reaper still has %d namespaces", s.Namespaces)
	}
	nstest.Eventually(t, testnode.Patience, "the reaper has no more descriptors than before", func() bool {
		return w.descriptorsWithoutHistory(t, p.PID()) <= descriptorsBefore
	})
	p.Stop()
	history := []string{filepath.Join(w.dir, "history"), filepath.Join(w.dir, "idle")}
	var left []string
	err := filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && slices.Contains(history, path) {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() && d.Name() != "descriptors" { // which is there once a socket was destroyed
			left = append(left, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"candidates", "reaper.lock"}, left); diff != "" {
		t.Errorf("files (-want +got)\n%s", diff)
	}
}

// descriptorsWithoutHistory counts the reaper's descriptors, without the one of the history's last segment, which is
// open from its first line.
func (w *world) descriptorsWithoutHistory(t *testing.T, pid int) (n int) {
	t.Helper()
	segment := filepath.Join(w.dir, "history") + "/"
	for _, target := range descriptors(t, pid) {
		if !strings.HasPrefix(target, segment) {
			n++
		}
	}
	return n
}

// churn creates a namespace, adds and deletes attachments in it, and removes it.
func (w *world) churn(t *testing.T, i, rounds int) {
	t.Helper()
	c := newContainer(t, nil)
	veth := fmt.Sprintf("hcveth%d", i)
	link := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: veth}, PeerName: "eth0", PeerNamespace: netlink.NsFd(c.FD()),
	}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatalf("create a veth: %v", err)
	}
	leak := c.Connect(t, nstest.IPv4)
	if err := leak.Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	a := state.Attachment{ContainerID: fmt.Sprintf("churn%d", i), IfName: "eth0"}
	for range rounds {
		for _, command := range []string{"ADD", "DEL"} {
			if r := run(t, w.plugin(command, a, c.path, pluginConf(external+`, "grace": "1s"`))); r.code != 0 || r.stderr != "" {
				t.Errorf("%s: exit code %d: %s%s", command, r.code, r.stdout, r.stderr)
			}
		}
	}
	leak.Client.Close()
	leak.Server.Close()
	c.remove(t)
	c.Close()
	nstest.Eventually(t, testnode.Patience, "the namespace is gone, and its veth with it", func() bool {
		_, err := netlink.LinkByName(veth)
		return err != nil
	})
}
