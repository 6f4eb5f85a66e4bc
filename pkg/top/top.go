// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package top is the full-screen view of a node: its pods with the most or the oldest half-closed sockets first, the sockets
// of each pod, the history and the problems.
//
// A model holds the state of the screen. It changes only with messages (keys, answers of the reaper, timers), so a test needs
// no terminal, no reaper and no clock. Run connects it to a terminal through bubbletea.
package top

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/halfclose/halfclose/pkg/api"
)

// MinInterval is the shortest time between two requests to the reaper.
const MinInterval = 250 * time.Millisecond

// Source is a reaper: a client of its HTTP API.
type Source interface {
	Status(ctx context.Context) (api.Status, error)
	Sockets(ctx context.Context, q api.SocketQuery) (api.SocketList, error)
	Leaks(ctx context.Context, q api.LeakQuery) (api.LeakList, error)
	History(ctx context.Context, q api.HistoryQuery) (api.HistoryPage, error)
}

// Config configures a View.
type Config struct {
	Source Source
	// SetMode sets a switch, through the reaper or without one. If it is nil, no key sets a switch.
	SetMode   func(ctx context.Context, r api.ModeRequest) error
	Interval  time.Duration    // between two requests, MinInterval or more; 0 if the View is only printed
	Sort      string           // one of Orders; "" is the first
	Namespace string           // only the pods of this Kubernetes namespace; "" is all
	Now       func() time.Time // in the time zone of the shown times
}

// View is a view of a node.
type View struct{ model *model }

// Open asks the reaper for the first time. It fails if the reaper does not answer.
func Open(ctx context.Context, cfg Config) (*View, error) {
	m := newModel(cfg)
	a := ask(ctx, cfg.Source, question{history: true}, cfg.Now)
	if a.err != nil {
		return nil, a.err
	}
	m.receive(a)
	return &View{m}, nil
}

// printedWidth is the width of a printed screen of any width.
const printedWidth = 120

// Print prints the list of pods with all rows; width 0 is any width.
func (v *View) Print(w io.Writer, width int) error {
	if width <= 0 {
		width = printedWidth
	}
	lines := v.model.draw(width, 0)
	for i := range lines {
		lines[i] = strings.TrimRight(ansi.Strip(lines[i]), " ")
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}
