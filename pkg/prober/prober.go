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

// Config is what a Prober needs.
type Config struct {
	// Dir is where asked sockets are recorded, such as /run/halfclose/asked. It is created if it is missing. One
	// Prober at a time uses it.
	Dir    string
	Opener finder.Opener
	Clock  monotime.Clock
	// MaxPerSecond bounds how many peers are asked a second; DefaultMaxPerSecond if 0.
	MaxPerSecond int
	// Budget bounds the CPU time, as a share of one core; DefaultBudget if 0.
	Budget float64
	Log    *slog.Logger // nothing is logged if nil
	// Answered receives the answers, one for each question. Run calls it, and waits for it. It must not call Ask or
	// Cancel while it holds a lock that their callers hold; it may call them otherwise.
	Answered func([]Answer)
}

// The defaults of Config.
const (
	DefaultMaxPerSecond = 1000
	DefaultBudget       = 0.02
)

// Prober asks peers. Its methods may be called concurrently.
type Prober struct {
	config Config
	env    environment
	wake   chan struct{} // capacity 1: there is something in the mailbox

	mu      sync.Mutex
	mailbox []message
	stats   Stats
}

// message is a question, or the cancellation of one.
type message struct {
	question *Question
	cancel   subject
}

// subject names the socket of a question.
type subject struct {
	netns  netns.Identity
	cookie uint64
}

// Stats are the figures of a Prober, since it was created unless they are of now.
type Stats struct {
	Queued  int // of now: questions that wait
	Asking  int // of now: questions that are out
	Armed   int // of now: sockets whose options are a question's
	Missing int // of now: those of Armed to which no descriptor is found at present
	Stuck   int // of now: threads that closing a duplicate has blocked for longer than a second
	// Suspended is set while peers are not asked because of the stuck threads.
	Suspended bool

	Answers   map[Result]uint64
	Obstacles map[Obstacle]uint64   // of the answers NotAsked
	Refused   map[unix.Errno]uint64 // of the obstacles Refused and NoPtrace

	Restored   uint64 // sockets
	Earlier    uint64 // those of Restored that an earlier Prober had left
	Lost       uint64 // sockets that no descriptor led to any more, so that they were not restored
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
	r, err := openRecords(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("ask peers: %w", err)
	}
	class, has, err := ownClass()
	if err != nil {
		c.Log.Warn("sockets with a net_cls class are not asked about, and it is taken that this process has none", "err", err)
	}
	return &Prober{
		config: c,
		wake:   make(chan struct{}, 1),
		env: environment{
			opener: c.Opener, clock: c.Clock, records: r, procs: owners.NewProc("/proc"), class: class, hasClass: has,
			patience: duplicatePatience,
		},
	}, nil
}

// Ask asks the peers of the sockets, in this order, as soon as rate and budget allow. It never blocks. Each question
// gets one answer, also if Run ends before. A question that is asked after Run has returned gets none.
func (p *Prober) Ask(all []Question) {
	messages := make([]message, len(all))
	for n := range all {
		q := all[n]
		messages[n] = message{question: &q}
	}
	p.post(messages...)
}

// Cancel withdraws the question about a socket if there is one: it restores the socket's options, and the answer is
// Cancelled unless there was another before.
func (p *Prober) Cancel(id netns.Identity, cookie uint64) {
	p.post(message{cancel: subject{id, cookie}})
}

func (p *Prober) post(messages ...message) {
	p.mu.Lock()
	p.mailbox = append(p.mailbox, messages...)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default: // Run has not looked since
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

// Stats returns the figures as of the end of Run's last piece of work.
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

// Run restores what an earlier Prober left armed, and then asks peers until ctx is done. Before it returns, it restores
// the sockets whose questions are out; what it cannot restore within a few seconds stays recorded for the next Prober.
// It is called once.
func (p *Prober) Run(ctx context.Context) error {
	l := newLoop(ctx, p)
	if err := l.recover(); err != nil {
		return err
	}
	l.run()
	return nil
}
