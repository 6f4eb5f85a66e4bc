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

// session runs the screen. Its goroutine owns the model.
type session struct {
	model *model
	term  *fullScreen
	src   Source
	now   func() time.Time

	answers  chan answer
	inFlight bool        // a question has no answer yet
	askedAt  time.Time   // when the last question was asked
	next     *time.Timer // for the next question
	urgent   bool        // the next question does not wait for the timer
}

// keyDelay is the wait after an escape character for the rest of an escape sequence.
const keyDelay = 50 * time.Millisecond

// run shows the screen until the operator quits, the terminal is gone, or ctx is done.
func (s *session) run(ctx context.Context) (err error) {
	if err := s.term.enter(); err != nil {
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
	lone := time.NewTimer(time.Hour) // fires after an escape character that nothing follows
	defer lone.Stop()
	s.draw()
	for {
		var keys []key
		select {
		case <-ctx.Done():
			return nil
		case a := <-s.answers:
			s.receive(ctx, a)
		case <-s.next.C:
			s.ask(ctx)
		case b, ok := <-typed:
			if !ok {
				return nil // the terminal is gone
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

// press handles keys, and reports whether one of them quits.
func (s *session) press(ctx context.Context, keys []key, signals chan os.Signal) (done bool, err error) {
	for _, k := range keys {
		shown, paused := s.model.detail, s.model.paused
		switch s.model.press(k) {
		case quit:
			return true, nil
		case suspend:
			err = s.suspend(signals)
		case redraw:
			err = s.term.enter()
		case proceed:
		}
		if err != nil {
			return true, err
		}
		if s.model.detail != shown && s.model.detail != nil || paused && !s.model.paused {
			s.urgent = true
			s.ask(ctx)
		}
	}
	return false, nil
}

// suspend restores the terminal and stops this process until SIGCONT. It sends SIGSTOP, because os/signal does not restore
// the default action of SIGTSTP. Without a shell in the session to continue the process, suspend does nothing.
func (s *session) suspend(signals chan os.Signal) error {
	parent, err := unix.Getsid(os.Getppid())
	own, ownErr := unix.Getsid(0)
	if err != nil || ownErr != nil || parent != own {
		return nil
	}
	if err := s.term.restore(); err != nil {
		return err
	}
	if err := unix.Kill(os.Getpid(), unix.SIGSTOP); err != nil {
		return fmt.Errorf("stop this process: %w", err)
	}
	timeout := time.NewTimer(time.Second) // this thread may get here before the process stops
	defer timeout.Stop()
	for waiting := true; waiting; {
		select {
		case sig := <-signals:
			waiting = sig != unix.SIGCONT
		case <-timeout.C:
			waiting = false
		}
	}
	return s.term.enter()
}

// read passes the terminal's input on until the terminal is gone.
func (s *session) read(ctx context.Context, typed chan<- []byte) {
	defer s.term.restoreOnPanic()
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

// ask asks the reaper, unless a question is in flight or the view is paused.
func (s *session) ask(ctx context.Context) {
	if s.inFlight || s.model.paused && !s.urgent {
		return
	}
	s.inFlight, s.urgent, s.askedAt = true, false, time.Now()
	q := s.model.question(s.now())
	go func() {
		defer s.term.restoreOnPanic()
		a := ask(ctx, s.src, q, s.now)
		select {
		case s.answers <- a:
		case <-ctx.Done():
		}
	}()
}

// receive applies an answer, and schedules the next request.
func (s *session) receive(ctx context.Context, a answer) {
	s.inFlight = false
	s.model.update(a)
	took := time.Since(s.askedAt)
	s.next.Reset(max(s.model.interval-took, restFactor*took))
	if d := s.model.detail; d != nil && a.err == nil && (!d.loaded || d.ownersAt.IsZero()) {
		s.urgent = true
	}
	if s.urgent {
		s.ask(ctx)
	}
}

// draw shows a frame of the model.
func (s *session) draw() {
	width, height := s.term.size()
	s.term.show(s.model.frame(width, height), width, s.model.problem != "")
}
