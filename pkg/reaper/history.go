// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"log/slog"
	"strings"

	"golang.org/x/time/rate"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

var logText = map[string]string{
	api.Destroyed: "destroyed half-closed socket", api.WouldDestroy: "would destroy half-closed socket",
	api.PeerGone: "half-closed socket ended: its peer is gone", api.Closed: "half-closed socket was closed while its peer was asked",
}

// historySize is how many entries are kept.
const historySize = 4096

// history keeps the last entries and logs each, up to a rate past which it sums them per namespace. The
// loop owns it.
type history struct {
	log     *slog.Logger
	limit   *rate.Limiter
	entries []api.Entry // a ring once it is full
	next    int
	total   uint64 // which is the last entry's number
	summed  map[sumKey]int
	added   chan struct{} // closed when there is another entry; nil while nobody waits for one
}

type sumKey struct {
	pod     state.Pod
	outcome string
}

func newHistory(log *slog.Logger) *history {
	return &history{log: log, limit: rate.NewLimiter(20, 100), summed: make(map[sumKey]int)}
}

// add takes in an entry.
func (j *history) add(e api.Entry) {
	j.total++
	e.Seq = j.total
	if j.added != nil {
		close(j.added)
		j.added = nil
	}
	if len(j.entries) < historySize {
		j.entries = append(j.entries, e)
	} else {
		j.entries[j.next] = e
		j.next = (j.next + 1) % historySize
	}
	if !j.limit.AllowN(e.Time, 1) {
		j.summed[sumKey{e.Pod, e.Outcome}]++
		return
	}
	attrs := []any{
		slog.String("pod_namespace", e.Pod.Namespace), slog.String("pod", e.Pod.Name),
		slog.String("network", e.Network), slog.String("container", e.ContainerID),
		slog.String("local", e.Local.String()), slog.String("peer", e.Peer.String()), slog.String("state", e.State.String()),
		slog.Duration("age", e.Age.Rounded()), slog.Duration("idle", e.Idle.Rounded()),
		slog.String("grace", e.Grace.String()), slog.Duration("late", e.Late.Rounded()),
		slog.Uint64("rqueue_bytes", uint64(e.RQueue)), slog.Uint64("wqueue_bytes", uint64(e.WQueue)),
		slog.Uint64("uid", uint64(e.UID)), slog.Uint64("cookie", e.Cookie),
	}
	if e.Excused > 0 {
		attrs = append(attrs, slog.Duration("excused", e.Excused.Rounded()), slog.String("excused_by", strings.Join(e.ExcusedBy, ",")))
	}
	if e.How != "" {
		attrs = append(attrs, slog.String("how", e.How), slog.String("owner_sees", e.OwnerResult))
	}
	if len(e.Owners) > 0 {
		attrs = append(attrs, slog.String("owners", owners.Names(e.Owners)))
	}
	j.log.Info(logText[e.Outcome], attrs...)
}

// flush logs the sums of what had no line of its own.
func (j *history) flush() {
	for key, n := range j.summed {
		j.log.Info(logText[key.outcome]+", without a line each",
			slog.String("pod_namespace", key.pod.Namespace), slog.String("pod", key.pod.Name), slog.Int("sockets", n))
	}
	clear(j.summed)
}

// after returns the entries that came after the one of that number, newest last, as far as they are kept.
func (j *history) after(seq uint64) []api.Entry {
	n := len(j.entries)
	wanted := 0
	if seq < j.total {
		wanted = int(min(uint64(n), j.total-seq))
	}
	list := make([]api.Entry, 0, wanted)
	for i := n - wanted; i < n; i++ {
		list = append(list, j.entries[(j.next+i)%n])
	}
	return list
}

// more returns a channel that is closed when there is another entry.
func (j *history) more() <-chan struct{} {
	if j.added == nil {
		j.added = make(chan struct{})
	}
	return j.added
}
