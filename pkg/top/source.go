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
func ask(ctx context.Context, src Source, q question, now func() time.Time) (h answer) {
	h.key, h.owners = q.key, q.owners
	if h.status, h.err = src.Status(ctx); h.err != nil {
		return h
	}
	h.at = now()
	if q.history {
		page, err := src.History(ctx, api.HistoryQuery{})
		if h.err = err; err != nil {
			return h
		}
		h.history = &page
	}
	if q.key != "" {
		var err error
		if h.sockets, err = src.Sockets(ctx, api.SocketQuery{Pod: q.query, Owners: q.owners}); err != nil {
			h.sockets.Problems = append(h.sockets.Problems, err.Error())
		}
	}
	return h
}

// question returns the next question.
func (t *model) question(now time.Time) question {
	q := question{}
	if d := t.detail; d != nil {
		q.key, q.query = d.key, d.query
		q.owners = d.loaded && now.Sub(d.ownersAt) >= ownersEvery // the sockets come first: they cost less
	}
	return q
}
