// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
)

// The pace of questions.
const (
	requestTimeout = 5 * time.Second        // of each request
	waitAfter      = 500 * time.Millisecond // without an answer the screen shows that it waits
	ownersEvery    = 10 * time.Second       // between two requests for owners, which cost the reaper a walk over /proc
	restFactor     = 10                     // the pause after an answer, as a multiple of the time it took
)

// question is a request for the data of a screen.
type question struct {
	leaks   bool
	history bool
	after   api.HistoryQuery // where the history continues
	pod     string           // key of the pod whose sockets are requested, "" if none
	query   string           // its container ID
	owners  bool
}

// answer holds the reaper's answers to a question.
type answer struct {
	question
	at      time.Time
	elapsed time.Duration
	status  api.Status
	list    api.LeakList
	page    api.HistoryPage
	sockets api.SocketList
	note    string // why a part is missing, "" if none is
	err     error
}

// ask asks the reaper. Only an error of the status is an error of the answer; another one is the note of an answer without
// that part.
func ask(ctx context.Context, src Source, q question, now func() time.Time) answer {
	a := answer{question: q}
	began := now()
	limited := func(request func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		return request(ctx)
	}
	part := func(wanted *bool, request func(context.Context) error) {
		if !*wanted || a.err != nil {
			return
		}
		if err := limited(request); err != nil {
			*wanted, a.note = false, err.Error()
		}
	}
	a.err = limited(func(ctx context.Context) (err error) {
		a.status, err = src.Status(ctx)
		return err
	})
	part(&a.history, func(ctx context.Context) (err error) {
		a.page, err = src.History(ctx, q.after)
		return err
	})
	part(&a.leaks, func(ctx context.Context) (err error) {
		a.list, err = src.Leaks(ctx, api.LeakQuery{Limit: maxLeaks})
		return err
	})
	sockets := q.pod != ""
	part(&sockets, func(ctx context.Context) (err error) {
		a.sockets, err = src.Sockets(ctx, api.SocketQuery{PodQuery: api.PodQuery{Pod: q.query}, Owners: q.owners})
		return err
	})
	if !sockets {
		a.pod = ""
	}
	a.at = now()
	a.elapsed = a.at.Sub(began)
	return a
}
