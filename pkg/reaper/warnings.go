// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"log/slog"
	"maps"
	"sync"

	"github.com/halfclose/halfclose/pkg/census"
)

// The kinds of warnings, as they are counted.
const (
	WarnHostNetns   = "host-netns"   // the network namespace of process 1 is unknown, and not protected
	WarnSockDestroy = "sock-destroy" // sockets cannot be destroyed, or the probe failed
	WarnSavedAges   = "saved-ages"   // ages could not be saved or loaded
	WarnRecords     = census.WarnRecords
	WarnSwitch      = "switch"      // the mode switch cannot be read
	WarnSweeping    = "sweeping"    // sweeps are behind schedule
	WarnOwners      = "owners"      // the owners of sockets cannot be found
	WarnStaleLooks  = "stale-looks" // looks are too old when their destroys are sent
	WarnFinder      = "finder"      // a finder fell back to another
	WarnCrowded     = "crowded"     // a network namespace has very many half-closed sockets
	WarnNetns       = "netns"       // network namespaces cannot be entered
	WarnConnections = "connections" // the API or the metrics address has as many connections as it may have
	WarnAsking      = "asking"      // peers cannot be asked
	WarnPolicyFile  = census.WarnPolicyFile
	WarnWrites      = "writes"     // a state directory cannot be written
	WarnIdleTimes   = "idle-times" // idle times could not be saved or loaded
	WarnHistory     = "history"    // the history on disk cannot be written, or was damaged
)

// WarningKinds lists the kinds of warnings.
func WarningKinds() []string {
	return []string{
		WarnHostNetns, WarnSockDestroy, WarnSavedAges, WarnRecords, WarnSwitch, WarnSweeping, WarnOwners, WarnStaleLooks, WarnFinder, WarnCrowded,
		WarnNetns, WarnAsking, WarnConnections, WarnPolicyFile, WarnWrites, WarnIdleTimes, WarnHistory,
	}
}

// warnings logs problems, and counts them by kind. Its methods are safe for concurrent use.
type warnings struct {
	log *slog.Logger

	mu     sync.Mutex
	counts map[string]uint64
}

func newWarnings(log *slog.Logger) *warnings {
	return &warnings{log: log, counts: make(map[string]uint64)}
}

// Warn implements census.Warnings.
func (w *warnings) Warn(kind, text string, args ...any) { w.warn(kind, text, args...) }

// Fail implements census.Warnings.
func (w *warnings) Fail(kind, text string, args ...any) { w.fail(kind, text, args...) }

// warn logs and counts a problem that an operator should fix.
func (w *warnings) warn(kind, text string, args ...any) {
	w.count(kind)
	w.log.Warn(text, args...)
}

// fail logs and counts a problem that keeps the reaper from destroying sockets or from reading records.
func (w *warnings) fail(kind, text string, args ...any) {
	w.count(kind)
	w.log.Error(text, args...)
}

func (w *warnings) count(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[kind]++
}

// all returns the number of problems of each kind.
func (w *warnings) all() map[string]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}
