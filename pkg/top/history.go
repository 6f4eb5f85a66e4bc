// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"cmp"
	"fmt"
	"time"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// historySpec describes the list of the sockets that were destroyed, that only the mode kept, or that closed when their
// peer was asked, the newest first.
func historySpec(zone *time.Location) spec[api.Entry] {
	newest := func(a, b api.Entry) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.Seq, a.Seq)) }
	pod := func(e api.Entry) string { return safetext.Escape(describe.Pod(e.Pod, e.ContainerID)) }
	return spec[api.Entry]{
		columns: func(width int) []term.Column {
			return []term.Column{
				{Name: "TIME"},
				{Name: "POD", Least: max(12, width/4)},
				{Name: "OUTCOME", Fold: 1},
				{Name: "STATE", Fold: 4},
				{Name: "LOCAL", Least: 12, Fold: 5},
				{Name: "PEER", Least: 12, Fold: 3},
				{Name: "AGE", Right: true, Fold: 2},
				{Name: "OWNERS", Fold: 6},
			}
		},
		cells: func(e api.Entry) []string {
			return []string{
				e.Time.In(zone).Format("01-02 15:04:05"), pod(e), safetext.Escape(e.Outcome), e.State.String(),
				e.Local.String(), e.Peer.String(), describe.Age(e.Age), ownerNames(e.Owners),
			}
		},
		key:       func(e api.Entry) string { return fmt.Sprint(e.Seq) },
		namespace: func(e api.Entry) string { return e.Pod.Namespace },
		orders: []order[api.Entry]{
			{"time", newest},
			{"pod", func(a, b api.Entry) int { return cmp.Or(cmp.Compare(pod(a), pod(b)), newest(a, b)) }},
			{"outcome", func(a, b api.Entry) int { return cmp.Or(cmp.Compare(a.Outcome, b.Outcome), newest(a, b)) }},
			{"age", func(a, b api.Entry) int { return cmp.Or(cmp.Compare(b.Age, a.Age), newest(a, b)) }},
		},
		detail: entryLines,
		empty:  "  Nothing has been destroyed yet.",
	}
}

// entryLines returns the details of one entry.
func entryLines(e api.Entry, width int) []string {
	what := fmt.Sprintf("%s after %s, %s of them idle", e.Outcome, describe.Age(e.Age), describe.Age(e.Idle))
	if e.How != "" {
		what += ", by " + e.How
	}
	if e.Grace != 0 {
		what += fmt.Sprintf("; grace %v, %s late", e.Grace, describe.Age(e.Late))
	}
	lines := []string{term.Strong.Paint(fmt.Sprintf("%v from %v", e.Local, e.Peer)) + "  " + e.State.String()}
	lines = append(lines, wrapped(width, safetext.Escape(what))...)
	return append(lines, wrapped(width, "held by "+ownerNames(e.Owners))...)
}
