// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// session is one person's look at the screen. Its goroutine owns the model.
type session struct {
	model *model
	term  *fullScreen
	src   Source
	now   func() time.Time

	answers chan answer
	asking  bool
	began   time.Time   // the asking
	next    *time.Timer // when to ask again
	again   bool        // at once
}

// keyDelay is how long an escape key waits for the rest of another key.
const keyDelay = 50 * time.Millisecond

// run shows the screen until somebody has had enough of it, or ctx ends.
func (s *session) run(ctx context.Context) (err error) {
	if err := s.term.take(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGWINCH, unix.SIGCONT, unix.SIGTSTP, unix.SIGHUP)
	defer signal.Stop(signals)
	typed := make(chan []byte)
	go s.read(ctx, typed)
	s.next = time.NewTimer(s.model.interval)
	defer s.next.Stop()
	var rest []byte
	lone := time.NewTimer(time.Hour) // for an escape key that nothing follows
	defer lone.Stop()
	s.draw()
	for {
		var keys []key
		select {
		case <-ctx.Done():
			return nil
		case h := <-s.answers:
			s.heard(ctx, h)
		case <-s.next.C:
			s.ask(ctx)
		case b, ok := <-typed:
			if !ok {
				return nil // the terminal has gone
			}
			keys, rest = parseKeys(append(rest, b...), false)
			lone.Reset(keyDelay)
		case <-lone.C:
			keys, rest = parseKeys(rest, true)
		case sig := <-signals:
			switch sig {
			case unix.SIGHUP:
				return nil
			case unix.SIGTSTP:
				keys = []key{keySuspend}
			case unix.SIGCONT:
				keys = []key{keyRedraw}
			}
		}
		if done, err := s.press(ctx, keys, signals); done || err != nil {
			return err
		}
		s.draw()
	}
}

// press acts upon keys, and reports whether one of them ends the session.
func (s *session) press(ctx context.Context, keys []key, signals chan os.Signal) (done bool, err error) {
	for _, k := range keys {
		shown, paused := s.model.detail, s.model.paused
		switch s.model.press(k) {
		case quit:
			return true, nil
		case suspend:
			err = s.suspend(signals)
		case redraw:
			err = s.term.take()
		case goOn:
		}
		if err != nil {
			return true, err
		}
		if s.model.detail != shown && s.model.detail != nil || paused && !s.model.paused {
			s.again = true
			s.ask(ctx)
		}
	}
	return false, nil
}

// suspend gives the terminal back and stops this process until it is to go on. It is not SIGTSTP that it is
// stopped by: os/signal does not give back the default action of a signal that it was asked to notify of.
// Without a shell in the session that could continue it, the process goes on at once.
func (s *session) suspend(signals chan os.Signal) error {
	parent, err := unix.Getsid(os.Getppid())
	own, ownErr := unix.Getsid(0)
	if err != nil || ownErr != nil || parent != own {
		return nil
	}
	if err := s.term.giveBack(); err != nil {
		return err
	}
	if err := unix.Kill(os.Getpid(), unix.SIGSTOP); err != nil {
		return fmt.Errorf("stop this process: %w", err)
	}
	late := time.NewTimer(time.Second) // this thread may get so far before it is stopped
	defer late.Stop()
	for waiting := true; waiting; {
		select {
		case sig := <-signals:
			waiting = sig != unix.SIGCONT
		case <-late.C:
			waiting = false
		}
	}
	return s.term.take()
}

// read reads what is typed until the terminal has gone.
func (s *session) read(ctx context.Context, typed chan<- []byte) {
	defer s.term.rescue()
	defer close(typed)
	for {
		b := make([]byte, 256)
		n, err := s.term.in.Read(b)
		if err != nil {
			return
		}
		select {
		case typed <- b[:n]:
		case <-ctx.Done():
			return
		}
	}
}

// ask asks the reaper, unless it is being asked or nobody wants to know.
func (s *session) ask(ctx context.Context) {
	if s.asking || s.model.paused && !s.again {
		return
	}
	s.asking, s.again, s.began = true, false, time.Now()
	q := s.model.question(s.now())
	go func() {
		defer s.term.rescue()
		h := ask(ctx, s.src, q, s.now)
		select {
		case s.answers <- h:
		case <-ctx.Done():
		}
	}()
}

// heard takes in an answer, and decides when to ask again.
func (s *session) heard(ctx context.Context, h answer) {
	s.asking = false
	s.model.hear(h)
	took := time.Since(s.began)
	s.next.Reset(max(s.model.interval-took, restFactor*took))
	if d := s.model.detail; d != nil && h.err == nil && (!d.loaded || d.asked.IsZero()) {
		s.again = true
	}
	if s.again {
		s.ask(ctx)
	}
}

// draw shows what there is to see now.
func (s *session) draw() {
	width, height := s.term.size()
	s.term.show(s.model.frame(width, height), width, s.model.problem != "")
}
