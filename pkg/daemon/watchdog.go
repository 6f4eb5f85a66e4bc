// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// maxStatusAge bounds the age of the status that the manager shows.
const maxStatusAge = 10 * time.Second

// interval returns the time between two watchdog pings: at most half of the watchdog's.
func (s *notifier) interval() time.Duration {
	if s.watchdog > 0 {
		return min(s.watchdog/2, maxStatusAge)
	}
	return maxStatusAge
}

// pingWatchdog sends watchdog pings and the status while the reaper's loop answers. If the loop does not answer for the
// watchdog's time, the manager kills the process and starts another.
func (s *notifier) pingWatchdog(ctx context.Context) {
	tick := time.NewTicker(s.interval())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if status, ok := s.status(ctx); ok {
			s.notify(daemon.SdNotifyWatchdog + "\n" + status)
		}
	}
}

// status returns the reaper's figures as a message, and whether its loop has answered within the interval.
func (s *notifier) status(ctx context.Context) (message string, ok bool) {
	timeout := s.interval()
	soon, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var m reaper.Metrics
	var err error
	if s.alone { // no status is shown: whether the loop answers is enough
		err = s.reaper.Ready(soon)
	} else {
		m, err = s.reaper.Metrics(soon)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("the reaper's loop does not answer", "timeout", timeout, "error", err)
		}
		return "", false
	}
	return "STATUS=" + statusLine(m) + "\n", true
}

// statusLine returns the reaper's figures in one line, for "systemctl status".
func statusLine(m reaper.Metrics) string {
	candidates, oldest := 0, time.Duration(0)
	for _, n := range m.Sockets {
		candidates += n
	}
	for _, age := range m.Oldest {
		oldest = max(oldest, age)
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
		line += fmt.Sprintf(" (oldest %s)", policy.FormatAge(oldest.Round(time.Second)))
	}
	line += fmt.Sprintf(", destroyed %d", destroyed)
	if would > 0 {
		line += fmt.Sprintf(", would have destroyed %d", would)
	}
	return line
}
