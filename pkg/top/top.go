// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package top is the full-screen view of a node: the pods with the most or the oldest half-closed sockets first.
//
// A model holds the state of the screen as values, and frame draws it. A session passes keys, signals and the reaper's
// answers to the model, and frames to the terminal.
package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/term"
)

// MinInterval is the shortest time between two requests to the reaper.
const MinInterval = 250 * time.Millisecond

// Config configures a View.
type Config struct {
	Source   Source
	Interval time.Duration // between two requests, MinInterval or more; 0 if the View is only printed
	Order    Order
	Now      func() time.Time // in the time zone of the shown times
}

// View is a view of a node.
type View struct {
	cfg   Config
	model model
}

// Open asks the reaper for the first time. It fails if the reaper does not answer.
func Open(ctx context.Context, cfg Config) (*View, error) {
	v := &View{cfg: cfg, model: model{interval: cfg.Interval, order: cfg.Order}}
	a := ask(ctx, cfg.Source, question{history: true}, cfg.Now)
	if a.err != nil {
		return nil, a.err
	}
	v.model.update(a)
	return v, nil
}

// Print prints one frame with all rows.
func (v *View) Print(w io.Writer, width int) error {
	var b strings.Builder
	for _, l := range v.model.frame(width, 0) {
		b.WriteString(l.plain())
		b.WriteByte('\n')
	}
	_, err := fmt.Fprint(w, b.String())
	return err
}

// Run shows the view on a terminal, open as in and out, until the operator quits or ctx is done.
func (v *View) Run(ctx context.Context, in, out *os.File, screen term.Screen) (err error) {
	terminal := newFullScreen(in, out, screen.Colour)
	defer func() { err = errors.Join(err, terminal.close()) }()
	s := session{model: &v.model, term: terminal, src: v.cfg.Source, now: v.cfg.Now, answers: make(chan answer)}
	return s.run(ctx)
}
