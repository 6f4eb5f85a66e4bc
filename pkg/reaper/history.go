// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

var logText = map[string]string{
	api.Destroyed: "destroyed half-closed socket", api.WouldDestroy: "would destroy half-closed socket",
	api.PeerGone: "peer of half-closed socket is gone", api.Closed: "owner closed half-closed socket while its peer was asked",
}

const maxHistoryEntries = 4096

// history keeps the last entries and logs each. Above a rate limit it logs their number per pod instead. The loop owns it.
type history struct {
	log      *slog.Logger
	limit    *rate.Limiter
	entries  []api.Entry // a ring once it is full
	next     int
	total    uint64 // also the number of the last entry
	unlogged map[unloggedKey]int
	added    chan struct{} // closed at the next entry; nil while no reader waits
}

type unloggedKey struct {
	pod     state.Pod
	outcome string
}

func newHistory(log *slog.Logger) *history {
	return &history{log: log, limit: rate.NewLimiter(20, 100), unlogged: make(map[unloggedKey]int)}
}

// add adds an entry, and logs it.
func (j *history) add(e api.Entry) {
	j.total++
	e.Seq = j.total
	if j.added != nil {
		close(j.added)
		j.added = nil
	}
	if len(j.entries) < maxHistoryEntries {
		j.entries = append(j.entries, e)
	} else {
		j.entries[j.next] = e
		j.next = (j.next + 1) % maxHistoryEntries
	}
	if !j.limit.AllowN(e.Time, 1) {
		j.unlogged[unloggedKey{e.Pod, e.Outcome}]++
		return
	}
	attrs := []any{
		slog.String("pod_namespace", e.Pod.Namespace), slog.String("pod", e.Pod.Name),
		slog.String("network", e.Network), slog.String("container", e.ContainerID),
		slog.String("local", e.Local.String()), slog.String("peer", e.Peer.String()), slog.String("state", e.State.String()),
		slog.Duration("age", e.Age.Rounded()), slog.Duration("idle", e.Idle.Rounded()),
		slog.Uint64("rqueue_bytes", uint64(e.RQueue)), slog.Uint64("wqueue_bytes", uint64(e.WQueue)),
		slog.Uint64("uid", uint64(e.UID)), slog.Uint64("cookie", e.Cookie),
	}
	if e.Outcome == api.Destroyed || e.Outcome == api.WouldDestroy { // only these have a deadline
		attrs = append(attrs, slog.String("grace", e.Grace.String()), slog.Duration("late", e.Late.Rounded()))
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

// flush logs the number of entries that the rate limit kept out of the log.
func (j *history) flush() {
	for key, n := range j.unlogged {
		j.log.Info(logText[key.outcome]+" (rate-limited, summed)",
			slog.String("pod_namespace", key.pod.Namespace), slog.String("pod", key.pod.Name), slog.Int("sockets", n))
	}
	clear(j.unlogged)
}

// after returns the kept entries with a number above seq, newest last.
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

// nextEntry returns a channel that is closed when the next entry is added.
func (j *history) nextEntry() <-chan struct{} {
	if j.added == nil {
		j.added = make(chan struct{})
	}
	return j.added
}

// History returns the destroyed, would-be destroyed and closed sockets, newest last. The reaper keeps the last
// maxHistoryEntries in memory.
func (r *Reaper) History(ctx context.Context, q api.HistoryQuery) (api.HistoryPage, error) {
	page := api.HistoryPage{History: r.began.Format(time.RFC3339Nano), Since: r.began}
	if q.History != page.History {
		q.After = 0
	}
	timeout := time.NewTimer(q.Wait)
	defer timeout.Stop()
	for {
		var next <-chan struct{}
		err := r.read(ctx, func(l *loop) {
			page.Entries, page.Last = l.history.after(q.After), l.history.total
			if len(page.Entries) == 0 && q.Wait > 0 {
				next = l.history.nextEntry()
			}
		})
		if err != nil {
			return page, err
		}
		if page.Last > q.After {
			page.Missed = page.Last - q.After - uint64(len(page.Entries))
		}
		if next == nil {
			return page, nil
		}
		select {
		case <-next:
		case <-timeout.C:
			return page, nil
		case <-ctx.Done():
			return page, ctx.Err()
		case <-r.ended:
			return page, api.ErrStopped
		}
	}
}
