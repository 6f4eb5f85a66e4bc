// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/metrics"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// The roles of this binary: it is started with one of these in the environment.
const (
	envClient = "HALFCLOSE_TEST_CLIENT" // a client without privileges, of the reaper at this socket
	envReaper = "HALFCLOSE_TEST_REAPER" // a reaper of this state directory
	envFiles  = "HALFCLOSE_TEST_FILES"  // with envReaper: RLIMIT_NOFILE
)

// parallelTests is the number of tests that run in parallel: most of their time they wait for a reaper.
const parallelTests = 16

func TestMain(m *testing.M) {
	var err error
	switch {
	case os.Getenv(envClient) != "":
		err = playClient(os.Getenv(envClient))
	case os.Getenv(envReaper) != "":
		err = playReaper(os.Getenv(envReaper), os.Getenv(envFiles))
	default:
		if err = nstest.SetParallel(parallelTests); err == nil {
			os.Exit(nstest.Main(m))
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// play returns a command that runs this binary in a role.
func play(tb testing.TB, env, value string) *exec.Cmd {
	tb.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), env+"="+value)
	return cmd
}

// playClient drops all privileges and asks for the status.
func playClient(socket string) error {
	const unprivileged = 65534
	if err := syscall.Setresgid(unprivileged, unprivileged, unprivileged); err != nil {
		return err
	}
	if err := syscall.Setresuid(unprivileged, unprivileged, unprivileged); err != nil {
		return err
	}
	_, err := admin.NewClient(socket).Status(context.Background())
	return err
}

// playReaper runs a reaper until its standard input is closed.
func playReaper(dir, files string) error {
	if files != "" {
		limit, err := strconv.ParseUint(files, 10, 64)
		if err != nil {
			return err
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return err
		}
	}
	root, err := netns.NewRoot("")
	if err != nil {
		return err
	}
	defer root.Close()
	store, log := state.New(dir), slog.New(slog.NewTextHandler(os.Stdout, nil))
	r, err := reaper.New(reaper.Config{
		Store: store, Root: root, SwitchPath: dir + "/mode", HistoryDir: dir + "/history", Finder: finder.NewSockDiag(finder.Config{Root: root, Clock: monotime.Fake{}, CPUBudget: 1}), Clock: monotime.Fake{}, Mode: policy.Destroy,
		Kernel: func() error { return nil }, Log: log,
	})
	if err != nil {
		return err
	}
	l, err := admin.Listen(store.SocketPath())
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	go func() {
		defer end()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.Run(ctx) })
	g.Go(func() error {
		return (&admin.Server{
			Reaper: r, Holder: api.Holder{PID: os.Getpid(), Since: time.Now()}, Log: log,
			Metrics: metrics.NewExporter(r, buildinfo.Get()).Text, Full: r.WarnConnections,
		}).Serve(ctx, l)
	})
	return g.Wait()
}

// startWithout starts a process without a capability, also where its user is root.
func startWithout(capability uintptr, cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread exits with this goroutine
		err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

// disarmedNode returns a node whose reaper, a process of its own, lacks CAP_NET_ADMIN and so cannot destroy.
func disarmedNode(tb testing.TB) *node {
	tb.Helper()
	return processNode(tb, tb.Output(), func(cmd *exec.Cmd) error { return startWithout(unix.CAP_NET_ADMIN, cmd) })
}

// processNode returns a node whose reaper is a process of its own, which start starts and which logs to log.
func processNode(tb testing.TB, log io.Writer, start func(*exec.Cmd) error) *node {
	tb.Helper()
	n := &node{tb: tb, store: state.New(tb.TempDir())}
	cmd := play(tb, envReaper, n.store.Dir())
	cmd.Stdout, cmd.Stderr = log, tb.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := start(cmd); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			tb.Errorf("the reaper exited with %v", err)
		}
	})
	n.Client, n.unix = admin.NewClient(n.store.SocketPath()), over(n.store.SocketPath())
	nstest.Eventually(tb, patience, "the reaper is ready", func() bool {
		_, err := n.Health(tb.Context()) // the socket exists before the reaper listens on it
		return err == nil
	})
	return n
}
