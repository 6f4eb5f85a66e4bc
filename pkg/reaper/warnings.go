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
	WarnHostNetns   = "host-netns"   // the network namespace of process 1 is unknown, and not protected
	WarnSockDestroy = "sock-destroy" // sockets cannot be destroyed, or the probe failed
	WarnSavedAges   = "saved-ages"   // ages could not be saved or loaded
	WarnRecords     = "records"      // invalid records, records with warnings, missed changes
	WarnSwitch      = "switch"       // the mode switch cannot be read
	WarnSweeping    = "sweeping"     // sweeps are behind schedule
	WarnOwners      = "owners"       // the owners of sockets cannot be found
	WarnStaleLooks  = "stale-looks"  // looks are too old when their destroys are sent
	WarnFinder      = "finder"       // a finder fell back to another
	WarnCrowded     = "crowded"      // a network namespace has very many half-closed sockets
	WarnNetns       = "netns"        // network namespaces cannot be entered
	WarnConnections = "connections"  // the API or the metrics address has as many connections as it may have
	WarnAsking      = "asking"       // peers cannot be asked
	WarnPolicyFile  = "policy-file"  // the node's policy file is wrong
	WarnWrites      = "writes"       // a state directory cannot be written
	WarnIdleTimes   = "idle-times"   // idle times could not be saved or loaded
	WarnHistory     = "history"      // the history on disk cannot be written, or was damaged
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

// noticeRecords logs each invalid record, and each record with warnings, once.
func (l *loop) noticeRecords(c census) {
	noticed := make(map[string]bool)
	isNew := func(key string) bool {
		noticed[key] = true
		return !l.noticed[key]
	}
	for _, p := range c.problems {
		if text := p.Err.Error(); isNew(p.File + " " + text) {
			l.warnings.warn(WarnRecords, "invalid record in the state directory", "file", p.File, "error", text)
		}
	}
	for _, r := range c.records {
		if len(r.Warnings) > 0 && isNew(fileName(r)+" "+r.Time.Format(time.RFC3339Nano)) {
			l.warnings.warn(WarnRecords, "attachment has configuration warnings", "pod_namespace", r.Pod.Namespace, "pod", r.Pod.Name,
				"network", r.Network, "container", r.ContainerID, "ifname", r.IfName, "warnings", r.Warnings)
		}
	}
	l.noticed = noticed
}
