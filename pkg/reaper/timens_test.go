// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// envReaper makes this test binary a reaper of a finder and a state directory, which are the variable's two
// words. It prints a line once it knows a candidate, then its history, one JSON document an entry, until it receives
// SIGTERM.
const envReaper = "HALFCLOSE_TEST_REAPER"

// processConfig returns the configuration of a reaper that is a process of its own, from the names of its finder and its state
// directory. The caller closes the backend and the root.
func processConfig(words string) (reaper.Config, *finder.Backend, error) {
	name, dir, _ := strings.Cut(words, " ")
	clock, err := monotime.System()
	if err != nil {
		return reaper.Config{}, nil, err
	}
	root, err := netns.NewRoot("")
	if err != nil {
		return reaper.Config{}, nil, err
	}
	load := func() (*finder.Loader, error) { return finder.LoadPrograms(testSockets) }
	by, err := finder.Select(name, load, finder.Config{Root: root, Clock: clock, CPUBudget: 1, MaxWalkInterval: time.Second})
	if err != nil {
		root.Close()
		return reaper.Config{}, nil, err
	}
	return reaper.Config{
		Store: state.New(dir), Root: root, SwitchPath: filepath.Join(dir, "mode"), Finder: by.Finder, Clock: clock, Mode: policy.Destroy,
	}, by, nil
}

func runReaper() error {
	c, by, err := processConfig(os.Getenv(envReaper))
	if err != nil {
		return err
	}
	defer c.Root.Close()
	c.Kernel, c.Log = func() error { return nil }, slog.New(slog.NewTextHandler(os.Stderr, nil))
	r, err := reaper.New(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	go func() {
		for known := false; !known && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			status, err := r.Status(ctx)
			known = err == nil && (status.Candidates[inetdiag.CloseWait.String()] > 0 || len(status.Counts.Destroyed) > 0)
		}
		fmt.Println("knows a candidate")
		out, q := json.NewEncoder(os.Stdout), api.HistoryQuery{Wait: time.Minute}
		for {
			page, err := r.History(ctx, q)
			if err != nil {
				return
			}
			for _, e := range page.Entries {
				_ = out.Encode(e) // a missing line fails the test
			}
			q.History, q.After = page.History, page.Last
		}
	}()
	return errors.Join(r.Run(ctx), by.Close())
}

// reaperIn starts a reaper in a time namespace. stop lets it save its candidates and exit.
func reaperIn(t *testing.T, offset, finderName, dir string) (printed *bufio.Scanner, stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "unshare", "--time", "--monotonic", offset, os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s", envReaper, finderName, dir))
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(unix.SIGTERM)
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the reaper in the time namespace of %s s exited: %v", offset, err)
		}
	}
	t.Cleanup(stop)
	return bufio.NewScanner(out), stop
}

// TestTimeNamespaceMakesNoSocketOlder restarts a reaper in another time namespace. It must lose no age, and destroy no
// socket before its grace has passed.
func TestTimeNamespaceMakesNoSocketOlder(t *testing.T) {
	if err := exec.Command("unshare", "--time", "true").Run(); err != nil {
		nstest.NeedPrivilege(t, "create a time namespace", err)
	}
	const (
		grace = 2 * time.Second
		tick  = 10 * time.Millisecond // of the kernel's clock, in which it counts how long ago an acknowledgement came
	)
	eachFinder(t, func(t *testing.T, finder string) {
		for _, offsets := range [][2]string{{"3600", "-100"}, {"-100", "3600"}} {
			t.Run(offsets[0]+" s and then "+offsets[1]+" s", func(t *testing.T) {
				t.Parallel()
				ns, n := newNS(t), offNode(t)
				old := ns.Connect(t, nstest.IPv4)
				// The first sweep may come before the socket is half-closed, and the next one a quarter of this later.
				n.register(ns, timing(inetdiag.CloseWait, time.Minute))
				printed, stop := reaperIn(t, offsets[0], finder, n.store.Dir())
				began := time.Now()
				shut(t, old)
				printed.Scan()
				stop()
				n.register(ns, timing(inetdiag.CloseWait, grace))
				history, _ := reaperIn(t, offsets[1], finder, n.store.Dir())
				history.Scan()
				if !history.Scan() {
					t.Fatal("the second reaper's history has no entry")
				}
				var e api.Entry
				if err := json.Unmarshal(history.Bytes(), &e); err != nil {
					t.Fatal(err)
				}
				local, _ := addrs(old.Server)
				if took := e.Time.Sub(began); e.Local.String() != local || took < grace-tick || time.Duration(e.Age) < grace || time.Duration(e.Age) > took+tick {
					t.Errorf("%v was destroyed %v after it became half-closed, with an age of %v and a grace of %v", e.Local, took, e.Age, grace)
				}
			})
		}
	})
}
