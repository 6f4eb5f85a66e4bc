// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/halfclose/halfclose/pkg/api"
	disk "github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

var logText = map[string]string{
	api.Destroyed: "destroyed half-closed socket", api.WouldDestroy: "would destroy half-closed socket",
	api.PeerGone: "peer of half-closed socket is gone", api.Closed: "owner closed half-closed socket while its peer was asked",
}

const maxHistoryEntries = 4096

// history keeps the last entries, logs each, and passes them to the store on disk. Above a rate limit it logs their number per
// pod instead. The loop owns it.
type history struct {
	store    lines
	limits   disk.Limiter
	held     []api.Entry // would-destroys that are written after the next save of the candidates
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
	return &history{store: noLines{}, log: log, limit: rate.NewLimiter(20, 100), unlogged: make(map[unloggedKey]int)}
}

// add adds an entry, and logs it.
func (j *history) add(e api.Entry) {
	j.total++
	e.Seq = j.total
	isAlone := j.limits.Admit(&e)
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
	if isAlone {
		j.write(e)
	}
	if e.Outcome == api.Failed {
		return // logged by errno
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

// flush logs the number of entries that the rate limit kept out of the log, and writes the sums of the last minute.
func (j *history) flush(now time.Time) {
	for key, n := range j.unlogged {
		j.log.Info(logText[key.outcome]+" (rate-limited, summed)",
			slog.String("pod_namespace", key.pod.Namespace), slog.String("pod", key.pod.Name), slog.Int("sockets", n))
	}
	clear(j.unlogged)
	for _, e := range j.limits.Sums(now) {
		j.write(e)
	}
}

// lines is the store on disk. Append never blocks.
type lines interface {
	Append(kind disk.Kind, at time.Time, value any)
}

// noLines is the store of a reaper that keeps its history in memory only.
type noLines struct{}

func (noLines) Append(disk.Kind, time.Time, any) {}

// maxHeld bounds the entries that wait for a save of the candidates.
const maxHeld = 4096

// write passes an entry to the store. A would-destroy waits until the saved candidates have it as recorded: the next
// reaper would record it a second time if this one were killed in between.
func (j *history) write(e api.Entry) {
	if e.Outcome == api.WouldDestroy && len(j.held) < maxHeld {
		j.held = append(j.held, e)
		return
	}
	j.store.Append(disk.KindEntry, e.Time, disk.ForDisk(e))
}

// takeHeld returns a function that writes the entries that wait now. It may be called in any goroutine.
func (j *history) takeHeld() func() {
	held, store := j.held, j.store
	j.held = nil
	return func() {
		for _, e := range held {
			store.Append(disk.KindEntry, e.Time, disk.ForDisk(e))
		}
	}
}

// writeHeld writes the entries that wait: everything recorded is in the saved candidates.
func (j *history) writeHeld() { j.takeHeld()() }

// close writes what is left. The candidates were saved.
func (j *history) close(now time.Time) {
	j.flush(now)
	for _, e := range j.limits.Flush() {
		j.write(e)
	}
	j.writeHeld()
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

// unwritten returns the entries and sums that are not on disk yet.
func (j *history) unwritten() []api.Entry { return slices.Concat(j.held, j.limits.Pending()) }

// nextEntry returns a channel that is closed when the next entry is added.
func (j *history) nextEntry() <-chan struct{} {
	if j.added == nil {
		j.added = make(chan struct{})
	}
	return j.added
}
