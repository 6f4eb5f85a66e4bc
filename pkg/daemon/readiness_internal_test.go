// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// newTestReaper returns a reaper on a state directory of the test, which runs from a call of run until the test ends.
func newTestReaper(t *testing.T) (r *reaper.Reaper, run func()) {
	t.Helper()
	root, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	dir := t.TempDir()
	r, err = reaper.New(reaper.Config{
		Store: state.New(dir), Root: root, SwitchPath: filepath.Join(dir, "mode"), Finder: finder.NewSockDiag(finder.Config{Root: root, Clock: monotime.Fake{}, CPUBudget: 1}), Clock: monotime.Fake{},
		Mode: policy.Destroy, Kernel: func() error { return nil }, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, func() {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// follow runs a notifier of a reaper until the test ends. It returns the messages to the manager, and the channel of SIGHUPs.
func follow(t *testing.T, r *reaper.Reaper, watchdog time.Duration) (<-chan string, chan<- os.Signal) {
	t.Helper()
	messages, hangups := make(chan string, 100), make(chan os.Signal, 1)
	s := &notifier{
		reaper: r, hangups: hangups, watchdog: watchdog, log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		send: func(message string) error { messages <- message; return nil },
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return messages, hangups
}

// next fails the test unless the next message to the manager matches the pattern.
func next(t *testing.T, messages <-chan string, pattern string) {
	t.Helper()
	select {
	case got := <-messages:
		if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
			t.Errorf("the manager receives %q, want %q", got, pattern)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the manager does not receive %q", pattern)
	}
}

const statusMessage = `STATUS=mode destroy, attachments 0, half-closed 0, destroyed 0\n`

func TestTheServiceManagerReceivesReadinessAndReloads(t *testing.T) {
	t.Parallel()
	r, run := newTestReaper(t)
	messages, hangup := follow(t, r, time.Hour)
	run()
	next(t, messages, `READY=1\n`+statusMessage)
	hangup <- os.Interrupt // any signal will do
	next(t, messages, `RELOADING=1\nMONOTONIC_USEC=\d+\n`)
	next(t, messages, `READY=1\n`+statusMessage)
}

func TestARunningReaperSendsWatchdogPings(t *testing.T) {
	t.Parallel()
	r, run := newTestReaper(t)
	run()
	messages, _ := follow(t, r, 50*time.Millisecond)
	next(t, messages, `READY=1\n`+statusMessage)
	for range 3 {
		next(t, messages, `WATCHDOG=1\n`+statusMessage)
	}
}

// The loop of a reaper that does not run answers no more than a stuck one.
func TestAReaperWithAStuckLoopSendsNoWatchdogPings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := newTestReaper(t)
		ctx, cancel := context.WithCancel(t.Context())
		sent := 0
		s := &notifier{
			reaper: r, watchdog: 30 * time.Second, log: slog.New(slog.DiscardHandler),
			send: func(string) error { sent++; return nil },
		}
		go s.pingWatchdog(ctx)
		time.Sleep(10 * time.Minute)
		cancel()
		synctest.Wait()
		if sent != 0 {
			t.Errorf("%d messages were sent", sent)
		}
	})
}

func TestWatchdogPingsAreTwiceAsFrequentAsRequired(t *testing.T) {
	for watchdog, want := range map[time.Duration]time.Duration{
		0: maxStatusAge, time.Second: 500 * time.Millisecond, 30 * time.Second: maxStatusAge, time.Hour: maxStatusAge,
	} {
		if got := (&notifier{watchdog: watchdog}).interval(); got != want {
			t.Errorf("for a watchdog of %v: every %v, want %v", watchdog, got, want)
		}
	}
}

func TestOfFailedNotificationsInARowTheFirstIsLogged(t *testing.T) {
	var b strings.Builder
	var err error
	s := &notifier{log: slog.New(slog.NewTextHandler(&b, nil)), send: func(string) error { return err }}
	for _, e := range []error{nil, os.ErrNotExist, os.ErrNotExist, nil, os.ErrPermission} {
		err = e
		s.notify("WATCHDOG=1")
	}
	if log := b.String(); strings.Count(log, "\n") != 2 || !strings.Contains(log, "not exist") || !strings.Contains(log, "permission") {
		t.Errorf("the log is:\n%s", log)
	}
}

func TestTheManagerIsTheOneInTheEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	notifyStopping()
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err != nil || string(b[:n]) != "STOPPING=1" {
		t.Errorf("the manager received %q, %v", b[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notifyManager("READY=1"); err != nil {
		t.Errorf("without a manager: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	if err := notifyManager("READY=1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a manager without a socket: %v", err)
	}
}

func TestStatusLine(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    reaper.Metrics
		want string
	}{
		{"a node without containers", reaper.Metrics{Mode: policy.Destroy}, "mode destroy, attachments 0, half-closed 0, destroyed 0"},
		{"a leak", reaper.Metrics{
			Mode: policy.Destroy, Attachments: 3,
			Sockets: map[reaper.CountKey]int{{State: inetdiag.CloseWait, Namespace: "a"}: 2, {State: inetdiag.FinWait2, Namespace: "b"}: 1},
			Oldest:  map[inetdiag.State]time.Duration{inetdiag.CloseWait: 90*time.Second + 400*time.Millisecond, inetdiag.FinWait2: time.Second},
			Destroyed: map[reaper.CountKey]uint64{
				{State: inetdiag.CloseWait, Namespace: "a"}: 3, {State: inetdiag.FinWait2, Namespace: "a"}: 4, {State: inetdiag.CloseWait, Namespace: "b"}: 5,
			},
		}, "mode destroy, attachments 3, half-closed 3 (oldest 1m30s), destroyed 12"},
		{"observing", reaper.Metrics{
			Mode: policy.Observe, Attachments: 1, WouldDestroy: map[reaper.CountKey]uint64{{State: inetdiag.CloseWait}: 7},
		}, "mode observe, attachments 1, half-closed 0, destroyed 0, would have destroyed 7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := statusLine(tt.m); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
