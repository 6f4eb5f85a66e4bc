// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// Config is the configuration of a Prober. Dir, Clock and Answered are required.
type Config struct {
	// Dir is the directory of the records of armed sockets, such as /run/halfclose/asked. New creates it if it does not
	// exist. Only one Prober at a time may use it.
	Dir    string
	Opener finder.Opener
	Clock  monotime.Clock
	// MaxPerSecond is the rate limit on questions; 0 is DefaultMaxPerSecond.
	MaxPerSecond int
	// Budget is the limit on CPU time, as a share of one core; 0 is DefaultBudget.
	Budget float64
	Log    *slog.Logger // nil: nothing is logged
	// Wrote receives the outcome of each attempt to write a record in Dir; nil: it is not needed. It may be called concurrently.
	Wrote func(err error)
	// Answered receives the answers, one per question. Run calls it, and waits until it returns. It may call Ask and Cancel,
	// but not while it holds a lock that other callers of these hold.
	Answered func([]Answer)
}

// The defaults of Config.
const (
	DefaultMaxPerSecond = 1000
	DefaultBudget       = 0.02
)

// Prober asks peers. Its methods are safe for concurrent use.
type Prober struct {
	config Config
	env    environment
	wake   chan struct{} // capacity 1: full while the mailbox has messages

	mu      sync.Mutex
	mailbox []message
	stats   Stats
}

// message is a question, or the cancellation of one.
type message struct {
	question *Question
	cancel   subject
}

// subject identifies the socket of a question.
type subject struct {
	netns  netns.Identity
	cookie uint64
}

// Stats are the figures of a Prober. The first ones are current values, the others totals since New.
type Stats struct {
	Queued  int // questions that wait
	Asking  int // questions under way
	Armed   int // sockets with the options of a question
	Missing int // those of Armed whose descriptor is being searched for
	Stuck   int // threads that are blocked, by closing a duplicate, for longer than a second
	// Suspended is set while no peer is asked because of the stuck threads.
	Suspended bool

	Answers   map[Result]uint64
	Obstacles map[Obstacle]uint64   // of the answers NotAsked
	Refused   map[unix.Errno]uint64 // of the obstacles Refused and NoPtrace

	Restored   uint64 // sockets
	Earlier    uint64 // those of Restored that an earlier Prober had armed
	Lost       uint64 // sockets that were not restored, because no descriptor was found
	Unreadable uint64 // records of an earlier Prober
	CPU        time.Duration
}

// New returns a Prober. It creates the directory.
func New(c Config) (*Prober, error) {
	if c.MaxPerSecond <= 0 {
		c.MaxPerSecond = DefaultMaxPerSecond
	}
	if c.Budget <= 0 {
		c.Budget = DefaultBudget
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Wrote == nil {
		c.Wrote = func(error) {}
	}
	r, err := openRecords(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("ask peers: %w", err)
	}
	class, has, err := ownClass()
	if err != nil {
		c.Log.Warn("cannot read this process's net_cls class: assuming none; peers of sockets with one are not asked", "err", err)
	}
	return &Prober{
		config: c,
		wake:   make(chan struct{}, 1),
		env: environment{
			opener: c.Opener, clock: c.Clock, records: r, wrote: c.Wrote, procs: owners.NewProc("/proc"), class: class, hasClass: has,
			patience: duplicateTimeout,
		},
	}, nil
}

// Ask asks the peers of the sockets, in this order, as soon as rate and budget allow. It never blocks. Each question gets one
// answer, even if Run returns before the question is sent. After Run has returned there are no answers.
func (p *Prober) Ask(all []Question) {
	messages := make([]message, len(all))
	for n := range all {
		q := all[n]
		messages[n] = message{question: &q}
	}
	p.post(messages...)
}

// Cancel withdraws the question about a socket if there is one: it restores the socket's options, and the answer is
// Cancelled unless the question has a result already.
func (p *Prober) Cancel(id netns.Identity, cookie uint64) {
	p.post(message{cancel: subject{id, cookie}})
}

func (p *Prober) post(messages ...message) {
	p.mu.Lock()
	p.mailbox = append(p.mailbox, messages...)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default: // Run has not collected the previous messages yet
	}
}

// collect empties the mailbox.
func (p *Prober) collect() []message {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.mailbox
	p.mailbox = nil
	return all
}

// Stats returns the figures that Run has published last.
func (p *Prober) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// publish makes Stats return the figures.
func (p *Prober) publish(s Stats) {
	s.Answers, s.Obstacles, s.Refused = maps.Clone(s.Answers), maps.Clone(s.Obstacles), maps.Clone(s.Refused)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats = s
}

// Run restores the sockets that an earlier Prober left armed, and then asks peers until ctx is done. Before it returns it
// restores the sockets of all questions under way; sockets that it cannot restore within stopTimeout stay recorded for the next
// Prober. It may be called once.
func (p *Prober) Run(ctx context.Context) error {
	l := newLoop(ctx, p)
	if err := l.recover(); err != nil {
		return err
	}
	l.run()
	return nil
}
