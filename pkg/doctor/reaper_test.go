// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/doctor"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// startReaper runs a reaper on a state directory until the test ends.
func startReaper(t *testing.T, store *state.Store, mode policy.Mode) *admin.Client {
	t.Helper()
	root, rootErr := netns.NewRoot("")
	l, err := admin.Listen(store.SocketPath())
	if err := errors.Join(rootErr, err); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r, err := reaper.New(reaper.Config{
		Store: store, Root: root, SwitchPath: filepath.Join(store.Dir(), "mode"), Finder: finder.NewSockDiag(finder.Config{Root: root, Clock: nstest.Clock(t), CPUBudget: 0.02}), Clock: nstest.Clock(t),
		Mode: mode, MinGrace: time.Second, Kernel: inetdiag.Probe, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return r.Run(ctx) })
	g.Go(func() error {
		return (&admin.Server{Reaper: r, Holder: api.Holder{PID: os.Getpid(), Since: time.Now()}, Log: log}).Serve(ctx, l)
	})
	t.Cleanup(func() {
		stop()
		if err := errors.Join(g.Wait(), root.Close()); err != nil {
			t.Error(err)
		}
	})
	return admin.NewClient(store.SocketPath())
}

func TestTheStatusOfTheReaperIsReported(t *testing.T) {
	needNode(t)
	dir := nstest.ShortDir(t)
	store := state.New(dir)
	record(t, store, "web", nameNetns(t, "web"))
	client := startReaper(t, store, policy.Observe)
	nstest.Eventually(t, patience, "the record is registered", func() bool {
		s, err := client.Status(t.Context())
		return err == nil && s.Namespaces == 1
	})
	if _, err := client.SetMode(t.Context(), api.ModeRequest{Mode: policy.Observe, Who: "the test"}); err != nil {
		t.Fatal(err)
	}
	r := doctor.Run(t.Context(), patient{StateDir: dir, ConfDir: t.TempDir()}.config())
	has(t, r, "reaper", doctor.OK, "with 1 namespace")
	hasNone(t, r, "reaper", doctor.Info) // it is of this version, and on schedule
	has(t, r, "mode", doctor.Info, "nothing is destroyed on this node: capped by the reaper's --mode observe; the switch, set to observe by the test")
	hasNone(t, r, "switch", doctor.Warn)
	hasNone(t, r, "", doctor.Fail)
}

func TestAReaperThatHangsDoesNotBlock(t *testing.T) {
	dir := nstest.ShortDir(t)
	l, err := net.Listen("unix", state.New(dir).SocketPath()) // no process accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	cfg := patient{StateDir: dir, ConfDir: t.TempDir()}.config()
	cfg.Limit = 200 * time.Millisecond
	began := time.Now()
	r := doctor.Run(t.Context(), cfg)
	has(t, r, "reaper", doctor.Fail, "a reaper runs and does not answer")
	has(t, r, "mode", doctor.OK, "no reaper answered")
	if took := time.Since(began); took > patience {
		t.Errorf("it took %v", took)
	}
}

func TestTheSocketOfAKilledReaperIsNoReaper(t *testing.T) {
	dir := nstest.ShortDir(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: state.New(dir).SocketPath()})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after SIGKILL
	l.Close()
	r := doctor.Run(t.Context(), patient{StateDir: dir, ConfDir: t.TempDir()}.config())
	has(t, r, "reaper", doctor.Info, "no reaper runs")
}
