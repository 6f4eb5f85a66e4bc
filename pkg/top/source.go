// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
)

// Source is what top asks: a reaper's client.
type Source interface {
	Status(ctx context.Context) (api.Status, error)
	Sockets(ctx context.Context, q api.SocketQuery) (api.SocketList, error)
	Journal(ctx context.Context, q api.JournalQuery) (api.JournalPage, error)
}

// question is what there is to ask.
type question struct {
	journal bool
	key     string // of the pod whose sockets are shown, "" if none are
	query   string
	owners  bool
}

// The times of asking.
const (
	patience    = 5 * time.Second  // for an answer, but for the sockets of a pod
	ownersEvery = 10 * time.Second // looking for owners is dear
	restFactor  = 10               // after an answer, nothing is asked for so many times as long as it took
)

// ask asks the reaper.
func ask(ctx context.Context, src Source, q question, now func() time.Time) (h answer) {
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	h.key, h.owners = q.key, q.owners
	if h.status, h.err = src.Status(soon); h.err != nil {
		return h
	}
	h.at = now()
	if q.journal {
		page, err := src.Journal(soon, api.JournalQuery{})
		if h.err = err; err != nil {
			return h
		}
		h.journal = &page
	}
	if q.key != "" {
		var err error
		if h.sockets, err = src.Sockets(ctx, api.SocketQuery{Pod: q.query, Owners: q.owners}); err != nil {
			h.sockets.Problems = append(h.sockets.Problems, err.Error())
		}
	}
	return h
}

// question is what is asked next.
func (t *model) question(now time.Time) question {
	q := question{}
	if d := t.detail; d != nil {
		q.key, q.query = d.key, d.query
		q.owners = d.loaded && now.Sub(d.asked) >= ownersEvery // first what comes at once
	}
	return q
}
