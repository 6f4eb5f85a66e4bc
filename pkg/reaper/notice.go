// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import "time"

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
