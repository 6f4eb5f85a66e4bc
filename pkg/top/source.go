// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
)

// Source is a reaper: a client of its HTTP API. Its requests fail on their own if the reaper does not answer.
type Source interface {
	Status(ctx context.Context) (api.Status, error)
	Sockets(ctx context.Context, q api.SocketQuery) (api.SocketList, error)
	History(ctx context.Context, q api.HistoryQuery) (api.HistoryPage, error)
}

// question is a request for the data of a frame.
type question struct {
	history bool
	key     string // of the pod whose sockets are requested, "" if none
	query   string
	owners  bool
}

// The pace of questions.
const (
	ownersEvery = 10 * time.Second // between two requests for owners, which cost the reaper a walk over /proc
	restFactor  = 10               // the pause after an answer, as a multiple of the time it took
)

// ask asks the reaper.
func ask(ctx context.Context, src Source, q question, now func() time.Time) (a answer) {
	a.key, a.owners = q.key, q.owners
	if a.status, a.err = src.Status(ctx); a.err != nil {
		return a
	}
	a.at = now()
	if q.history {
		page, err := src.History(ctx, api.HistoryQuery{})
		if a.err = err; err != nil {
			return a
		}
		a.history = &page
	}
	if q.key != "" {
		var err error
		if a.sockets, err = src.Sockets(ctx, api.SocketQuery{PodQuery: api.PodQuery{Pod: q.query}, Owners: q.owners}); err != nil {
			a.sockets.Problems = append(a.sockets.Problems, err.Error())
		}
	}
	return a
}

// question returns the next question.
func (m *model) question(now time.Time) question {
	q := question{}
	if d := m.detail; d != nil {
		q.key, q.query = d.key, d.query
		q.owners = d.loaded && now.Sub(d.ownersAt) >= ownersEvery // the sockets come first: they cost less
	}
	return q
}
