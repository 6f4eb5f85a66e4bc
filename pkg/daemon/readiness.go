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

// service reports a reaper to the service manager that started the process: systemd, mostly. Without a service
// manager its messages go nowhere.
type service struct {
	reaper   *reaper.Reaper
	hangups  <-chan os.Signal // each is a request to reload the records
	watchdog time.Duration    // within which the manager wants a sign of life; 0 if it wants none
	send     func(message string) error
	failing  atomic.Bool // the last message failed, and the log has that
	log      *slog.Logger
}

// newService finds the manager in the environment, as sd_notify(3) and sd_watchdog_enabled(3) define.
func newService(r *reaper.Reaper, hangups <-chan os.Signal, log *slog.Logger) *service {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the service manager gets no sign of life", "error", err)
	}
	return &service{reaper: r, hangups: hangups, watchdog: watchdog, send: notifyManager, log: log}
}

// notifyManager sends a message to the service manager in the environment, if there is one.
func notifyManager(message string) error {
	_, err := daemon.SdNotify(false, message)
	return err
}

// notifyStopping reports that the reaper is about to exit. An error is of no use: the manager sees the exit itself.
func notifyStopping() { _ = notifyManager(daemon.SdNotifyStopping) }

// notifyHangups returns a channel of SIGHUPs. From then on SIGHUP does not end the process.
func notifyHangups() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGHUP)
	return c
}

// report reports to the manager that the reaper is ready, and then its signs of life and status, and reloads the
// records at each SIGHUP, until ctx ends. A manager that does not read delays only report.
func (s *service) report(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-s.reaper.Counted(): // it has listened on its socket since before
	}
	s.notifyReady(ctx)
	reloading := make(chan struct{})
	go func() { // a reload that takes long is no reason for the watchdog
		defer close(reloading)
		s.reloadOnHangup(ctx)
	}()
	s.feedWatchdog(ctx)
	<-reloading
}

// reloadOnHangup has the reaper reload the records and the switch at each SIGHUP.
func (s *service) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.hangups:
		}
		s.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
		if err := s.reaper.Reload(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("read records and mode switch again", "error", err)
		}
		s.notifyReady(ctx)
	}
}

// notifyReady reports that the reaper is ready, with its status if its loop answers.
func (s *service) notifyReady(ctx context.Context) {
	status, _ := s.status(ctx)
	s.notify(daemon.SdNotifyReady + "\n" + status)
}

// notify sends a message to the manager. Of failures in a row it logs the first.
func (s *service) notify(message string) {
	err := s.send(message)
	if failed := s.failing.Swap(err != nil); err != nil && !failed {
		s.log.Warn("tell the service manager how the reaper is", "error", err)
	}
}
