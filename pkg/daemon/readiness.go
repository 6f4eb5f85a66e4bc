// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/reaper"
)

// service is a reaper as the service manager that started it sees it: systemd, mostly. Where none did, what
// is told goes nowhere.
type service struct {
	reaper   *reaper.Reaper
	hangups  <-chan os.Signal // each asks for the records to be read again
	watchdog time.Duration    // how long the manager waits for a sign of life; 0 is for ever
	send     func(message string) error
	failing  atomic.Bool // and that it does has been said
	log      *slog.Logger
}

// newService finds the manager in the environment, as sd_notify(3) and sd_watchdog_enabled(3) have it.
func newService(r *reaper.Reaper, hangups <-chan os.Signal, log *slog.Logger) *service {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the service manager gets no sign of life", "error", err)
	}
	return &service{reaper: r, hangups: hangups, watchdog: watchdog, send: notify, log: log}
}

// notify tells the service manager in the environment, if there is one.
func notify(message string) error {
	_, err := daemon.SdNotify(false, message)
	return err
}

// stopping tells the service manager that the reaper is about to end.
func stopping() { _ = notify(daemon.SdNotifyStopping) } // it sees the end itself

// hangups returns what brings each SIGHUP. From here on, none ends the process.
func hangups() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGHUP)
	return c
}

// follow tells the manager when the reaper is ready, that it lives and how it is, and reads the records again
// when a signal asks for that, until ctx ends. A manager that does not listen holds up nobody else.
func (s *service) follow(ctx context.Context) {
	if !s.awaitReady(ctx) {
		return
	}
	s.tellReady(ctx)
	reloading := make(chan struct{})
	go func() { // so that a reload which takes long is no reason for the watchdog
		defer close(reloading)
		s.reloads(ctx)
	}()
	s.beats(ctx)
	<-reloading
}

// awaitReady waits until the records have been read. The reaper has listened on its socket since before.
func (s *service) awaitReady(ctx context.Context) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.reaper.Ready(ctx) != nil {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// maxBeat is how old what the manager was told may be.
const maxBeat = 10 * time.Second

// beat is how often the manager gets a sign of life: twice as often as it asks for, or more.
func (s *service) beat() time.Duration {
	if s.watchdog > 0 {
		return min(s.watchdog/2, maxBeat)
	}
	return maxBeat
}

// beats gives the manager a sign of life as long as the reaper's loop gives one. Where it does not for the
// whole of the watchdog's time, the manager ends the process and starts another.
func (s *service) beats(ctx context.Context) {
	tick := time.NewTicker(s.beat())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if how, ok := s.how(ctx); ok {
			s.tell(daemon.SdNotifyWatchdog + "\n" + how)
		}
	}
}

// reloads has the reaper read the records and the switch again at each signal.
func (s *service) reloads(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.hangups:
		}
		s.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
		if err := s.reaper.Reload(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("read records and mode switch again", "error", err)
		}
		s.tellReady(ctx)
	}
}

// tellReady tells the manager that the reaper is ready, and how it is if it says so.
func (s *service) tellReady(ctx context.Context) {
	how, _ := s.how(ctx)
	s.tell(daemon.SdNotifyReady + "\n" + how)
}

// how asks the reaper's loop how it is. It reports whether that has answered.
func (s *service) how(ctx context.Context) (status string, ok bool) {
	within := s.beat()
	soon, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	m, err := s.reaper.Metrics(soon)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("the reaper's loop does not answer", "within", within, "error", err)
		}
		return "", false
	}
	return "STATUS=" + statusLine(m) + "\n", true
}

// tell tells the manager.
func (s *service) tell(message string) {
	err := s.send(message)
	if failed := s.failing.Swap(err != nil); err != nil && !failed {
		s.log.Warn("tell the service manager how the reaper is", "error", err)
	}
}

// statusLine says in one line what the reaper does, for "systemctl status".
func statusLine(m reaper.Metrics) string {
	candidates, oldest := 0, time.Duration(0)
	for state, n := range m.Candidates {
		candidates += n
		oldest = max(oldest, m.Oldest[state])
	}
	var destroyed, would uint64
	for _, n := range m.Destroyed {
		destroyed += n
	}
	for _, n := range m.WouldDestroy {
		would += n
	}
	line := fmt.Sprintf("mode %s, attachments %d, half-closed %d", m.Mode, m.Attachments, candidates)
	if candidates > 0 {
		line += fmt.Sprintf(" (oldest %s)", oldest.Round(time.Second))
	}
	line += fmt.Sprintf(", destroyed %d", destroyed)
	if would > 0 {
		line += fmt.Sprintf(", would have destroyed %d", would)
	}
	return line
}
