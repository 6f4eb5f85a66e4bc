// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"log/slog"
	"maps"
	"sync"
	"time"
)

// The kinds of warnings, as they are counted.
const (
	WarnHostNetns   = "host-netns"   // not all of the host's own namespaces can be told
	WarnSockDestroy = "sock-destroy" // nothing can be destroyed here, or that could not be tried
	WarnCandidates  = "candidates"   // ages could not be saved, or taken over
	WarnRecords     = "records"      // files that are no record, records with mistakes, changes missed
	WarnSwitch      = "switch"       // the mode switch cannot be read
	WarnSweeping    = "sweeping"     // sweeping lags behind what the graces ask for
	WarnOwners      = "owners"       // the holders of sockets cannot be found
	WarnLookAge     = "look-age"     // the machine leaves no time between a look at a socket and its destroy
	WarnFinder      = "finder"       // a finder fell back to another
	WarnNetns       = "netns"        // network namespaces cannot be entered
	WarnAsking      = "asking"       // peers cannot be asked
)

// WarningKinds lists the kinds of warnings.
func WarningKinds() []string {
	return []string{
		WarnHostNetns, WarnSockDestroy, WarnCandidates, WarnRecords, WarnSwitch, WarnSweeping, WarnOwners, WarnFinder,
		WarnNetns, WarnAsking,
	}
}

// warnings logs what is wrong and counts it by its kind. Its methods may be called from any goroutine.
type warnings struct {
	log *slog.Logger

	mu     sync.Mutex
	counts map[string]uint64
}

func newWarnings(log *slog.Logger) *warnings {
	return &warnings{log: log, counts: make(map[string]uint64)}
}

// warn says that something is wrong that somebody should look at.
func (w *warnings) warn(kind, text string, args ...any) {
	w.count(kind)
	w.log.Warn(text, args...)
}

// fail says that something is wrong that keeps the reaper from its work.
func (w *warnings) fail(kind, text string, args ...any) {
	w.count(kind)
	w.log.Error(text, args...)
}

func (w *warnings) count(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[kind]++
}

// all returns how often each kind has been warned of.
func (w *warnings) all() map[string]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}

// noticeRecords warns, once each, of files that are no record and of what a record was written with.
func (l *loop) noticeRecords(c census) {
	noticed := make(map[string]bool)
	first := func(key string) bool {
		noticed[key] = true
		return !l.noticed[key]
	}
	for _, p := range c.problems {
		if text := p.Err.Error(); first(p.File + " " + text) {
			l.warnings.warn(WarnRecords, "a file in the state directory is no record", "file", p.File, "error", text)
		}
	}
	for _, r := range c.records {
		if len(r.Warnings) > 0 && first(fileName(r)+" "+r.Time.Format(time.RFC3339Nano)) {
			l.warnings.warn(WarnRecords, "an attachment was made with mistakes", "pod_namespace", r.Pod.Namespace, "pod", r.Pod.Name,
				"network", r.Network, "container", r.ContainerID, "ifname", r.IfName, "mistakes", r.Warnings)
		}
	}
	l.noticed = noticed
}
