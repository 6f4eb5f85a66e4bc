// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"sync"
	"time"
)

// The first progress is shown after a time that most answers need less than.
const (
	progressAfter = 1500 * time.Millisecond
	progressEvery = 200 * time.Millisecond
)

// progress shows on a terminal how many nodes have answered.
type progress struct {
	mu    sync.Mutex
	done  int
	ended chan struct{}
	gone  sync.WaitGroup
}

// startProgress starts to show the progress on stderr, if that is a terminal.
func (e *env) startProgress(total int) *progress {
	p := &progress{ended: make(chan struct{})}
	if e.terminal(e.err) {
		p.gone.Go(func() { p.show(e, total) })
	}
	return p
}

// show draws the line until stop is called, and then clears it.
func (p *progress) show(e *env, total int) {
	timer := time.NewTimer(progressAfter)
	defer timer.Stop()
	shown := false
	for {
		select {
		case <-p.ended:
			if shown {
				p.draw(e, "\r\x1b[K")
			}
			return
		case <-timer.C:
			p.mu.Lock()
			done := p.done
			p.mu.Unlock()
			p.draw(e, fmt.Sprintf("\r\x1b[K%d of %d nodes", done, total))
			shown = true
			timer.Reset(progressEvery)
		}
	}
}

func (p *progress) draw(e *env, text string) {
	e.notes.Lock()
	defer e.notes.Unlock()
	fmt.Fprint(e.err, text)
}

// update sets the number of nodes that have answered.
func (p *progress) update(done int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
}

// stop removes the progress from the screen.
func (p *progress) stop() {
	close(p.ended)
	p.gone.Wait()
}
