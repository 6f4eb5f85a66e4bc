// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"log/slog"
	"maps"
	"sync"
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
	WarnFinder      = "finder"       // a finder fell back to another
)

// WarningKinds lists the kinds of warnings.
func WarningKinds() []string {
	return []string{
		WarnHostNetns, WarnSockDestroy, WarnCandidates, WarnRecords, WarnSwitch, WarnSweeping, WarnOwners, WarnFinder,
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
