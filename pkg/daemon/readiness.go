// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/reaper"
)

// notifier reports a reaper's state to the service manager that started the process, usually systemd. Without a service
// manager it does nothing.
type notifier struct {
	reaper   *reaper.Reaper
	hangups  <-chan os.Signal // each is a request to reload the records
	watchdog time.Duration    // longest time between two watchdog pings; 0 without a watchdog
	send     func(message string) error
	alone    bool        // no manager listens
	failing  atomic.Bool // the last message failed, and the log has its error
	log      *slog.Logger
}

// newNotifier finds the manager in the environment, as sd_notify(3) and sd_watchdog_enabled(3) define.
func newNotifier(r *reaper.Reaper, hangups <-chan os.Signal, log *slog.Logger) *notifier {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("no watchdog pings: cannot read WATCHDOG_USEC", "error", err)
	}
	return &notifier{reaper: r, hangups: hangups, watchdog: watchdog, send: notifyManager, alone: os.Getenv("NOTIFY_SOCKET") == "", log: log}
}

// notifyManager sends a message to the service manager in the environment, if there is one.
func notifyManager(message string) error {
	_, err := daemon.SdNotify(false, message)
	return err
}

// notifyStopping reports that the reaper is about to exit. It ignores an error: the manager notices the exit.
func notifyStopping() { _ = notifyManager(daemon.SdNotifyStopping) }

// notifyHangups returns a channel of SIGHUPs. From then on SIGHUP does not kill the process.
func notifyHangups() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGHUP)
	return c
}

// run notifies the manager that the reaper is ready, then sends watchdog pings and the status, and reloads the records at each
// SIGHUP, until ctx ends. A manager that does not read its socket delays only run.
func (s *notifier) run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-s.reaper.Counted(): // by then it listens on its socket
	}
	s.notifyReady(ctx)
	reloading := make(chan struct{})
	go func() { // a long reload must not trigger the watchdog
		defer close(reloading)
		s.reloadOnHangup(ctx)
	}()
	s.pingWatchdog(ctx)
	<-reloading
}

// reloadOnHangup has the reaper reload the records and the switch at each SIGHUP.
func (s *notifier) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.hangups:
		}
		s.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
		if err := s.reaper.Reload(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("cannot reload records and mode switch", "error", err)
		}
		s.notifyReady(ctx)
	}
}

// notifyReady reports that the reaper is ready, with its status if its loop answers.
func (s *notifier) notifyReady(ctx context.Context) {
	status, _ := s.status(ctx)
	s.notify(daemon.SdNotifyReady + "\n" + status)
}

// notify sends a message to the manager. It logs the first of several failures in a row.
func (s *notifier) notify(message string) {
	err := s.send(message)
	if failed := s.failing.Swap(err != nil); err != nil && !failed {
		s.log.Warn("cannot notify the service manager", "error", err)
	}
}
