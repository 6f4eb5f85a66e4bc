// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/prober"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// envConfined makes this test binary a reaper that lacks a privilege. Its value is a limit, a finder and a state
// directory, in this order.
const envConfined = "HALFCLOSE_TEST_CONFINED"

// envLimited is the same after the limit was applied.
const envLimited = "HALFCLOSE_TEST_LIMITED"

// The limits.
const (
	noSetns   = "setns-refused"
	noAdmin   = "without-CAP_SYS_ADMIN"
	noNetlink = "AF_NETLINK-refused"
	noGetfd   = "pidfd_getfd-refused"
)

// confine applies the limit and executes the test binary again, because the bounding set belongs to a thread.
func confine() error {
	runtime.LockOSThread()
	limit, rest, _ := strings.Cut(os.Getenv(envConfined), " ")
	var err error
	switch limit {
	case noSetns:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_SETNS, Errno: unix.EPERM})
	case noAdmin:
		err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0)
	case noNetlink:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_SOCKET, Errno: unix.EAFNOSUPPORT, Arg: unix.AF_NETLINK})
	case noGetfd:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_PIDFD_GETFD, Errno: unix.EPERM})
	}
	if err != nil {
		return err
	}
	environ := append(os.Environ(), envLimited+"="+rest)
	return syscall.Exec("/proc/self/exe", os.Args[:1], environ)
}

// selfReport is the status of a confined reaper after its first refusal.
type selfReport struct {
	Status      api.ReaperStatus
	Mode        policy.Mode
	Unreachable int
	PeersAsked  map[string]uint64
	Health      string
	Log         string
}

// runConfined runs a reaper until its status has a refusal and its oldest socket is overdue, and prints a report.
func runConfined() error {
	c, by, err := processConfig(os.Getenv(envLimited))
	if err != nil {
		return err
	}
	defer c.Root.Close()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	var log bytes.Buffer
	handler := slog.New(slog.NewTextHandler(&log, nil))
	var r *reaper.Reaper
	p, err := prober.New(prober.Config{
		Dir: filepath.Join(c.Store.Dir(), "asked"), Opener: finder.Opener{Root: c.Root}, Clock: c.Clock, Log: handler,
		Answered: func(a []prober.Answer) { r.Answered(a) },
	})
	if err != nil {
		return err
	}
	processes := owners.NewProc("/proc")
	c.Kernel, c.Log, c.Owners, c.Conditions = inetdiag.Probe, handler, by.Owners, processes.Conditions
	c.Asker, c.Asking, c.MaxAsksPerSecond = p, p.Stats, 1000
	c.Trials = reaper.Trials{Enter: finder.TryOpen, Processes: processes.TryAccess}
	if r, err = reaper.New(c); err != nil {
		return err
	}
	asking := make(chan error, 1)
	go func() { asking <- p.Run(ctx) }()
	var rep selfReport
	go func() {
		defer stop()
		for enough := false; !enough && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			m, _ := r.Metrics(ctx)
			rep.Status, _ = r.Status(ctx)
			rep.Mode, rep.Unreachable, rep.PeersAsked, rep.Health = m.Mode, m.Unreachable, m.PeersAsked, fmt.Sprint(r.Health(ctx))
			seen := m.Spared[policy.WouldDestroy]+m.Spared[policy.Destroyable] > 0 || m.PeersAsked[prober.Refused.String()] > 0 ||
				by.Finder.Name() == finder.NameSockDiag && m.Unreachable > 0 // which finds no socket in a namespace that it cannot enter
			enough = len(rep.Status.Refusals) > 0 && seen
		}
	}()
	err = r.Run(ctx)
	err = errors.Join(err, <-asking, by.Close())
	rep.Log = log.String()
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(rep))
}

func TestReaperReportsRefusedOperations(t *testing.T) {
	for _, tt := range []struct {
		limit string
		kind  api.RefusalKind
		fatal bool
		log   string
		do    string
	}{
		{noSetns, api.RefusedNetns, true, "cannot enter network namespaces", "setns"},
		{noAdmin, api.RefusedNetns, true, "cannot enter network namespaces", "CAP_SYS_ADMIN"},
		{noNetlink, api.RefusedNetlink, true, "cannot use sock_diag", "AF_NETLINK"},
		{noGetfd, api.RefusedPeers, false, "cannot ask the peers of some sockets", "pidfd_getfd"},
	} {
		t.Run(tt.limit, func(t *testing.T) {
			eachFinder(t, func(t *testing.T, name string) {
				ns, n := newNS(t), offNode(t)
				p := policy.Default()
				p.CloseWaitGrace, p.FinWait2Grace, p.ProbeAfter = policy.Patience(time.Second), policy.Patience(time.Hour), policy.Never
				if tt.limit == noGetfd {
					p.CloseWaitGrace, p.ProbeAfter = policy.Patience(time.Hour), policy.Patience(time.Second)
				}
				n.register(ns, p)
				shut(t, ns.Connect(t, nstest.IPv4))
				rep := confinedReport(t, tt.limit, name, n.store.Dir())
				i := -1
				for j, v := range rep.Status.Refusals {
					if v.Kind == tt.kind && v.Fatal == tt.fatal {
						i = j
					}
				}
				if i < 0 || !strings.Contains(rep.Status.Refusals[i].Do, tt.do) {
					t.Errorf("refusals %+v, want one of %s that says %q", rep.Status.Refusals, tt.kind, tt.do)
				}
				if got := strings.Count(rep.Log, tt.log); got != 1 {
					t.Errorf("%d lines of the log, not one, have %q:\n%s", got, tt.log, rep.Log)
				}
				if healthy := rep.Health == "<nil>"; healthy == tt.fatal {
					t.Errorf("health is %s", rep.Health)
				}
				want, unreachable := policy.Destroy, 0
				if tt.fatal {
					want, unreachable = policy.Observe, 1
				}
				if rep.Mode != want || rep.Status.Unreachable != unreachable || rep.Unreachable != unreachable {
					t.Errorf("mode %v and %d unreachable, want %v and %d", rep.Mode, rep.Unreachable, want, unreachable)
				}
				if asked := rep.PeersAsked["refused"]; (asked > 0) != (tt.kind == api.RefusedPeers) {
					t.Errorf("%d questions were refused", asked)
				}
				if c := rep.Status.Counts; len(c.Destroyed) != 0 || c.PeerGone != 0 {
					t.Errorf("destroyed %v, peer-gone %d", c.Destroyed, c.PeerGone)
				}
			})
		})
	}
}

// confinedReport returns the report of a reaper under a limit.
func confinedReport(t *testing.T, limit, name, dir string) (rep selfReport) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", envConfined, limit, name, dir))
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errors.String())
	}
	if err := json.Unmarshal(out, &rep); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return rep
}
