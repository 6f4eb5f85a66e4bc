// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// APIRow is the time of a request to a busy reaper, from its start to the last byte of the answer.
type APIRow struct {
	Way    string  `json:"way"`
	Rounds int     `json:"rounds"`
	P50    float64 `json:"p50Milliseconds"`
	Worst  float64 `json:"worstMilliseconds"`
	Bytes  int64   `json:"answerBytes"`
	Target bool    `json:"hasTarget"` // to be answered within 100 ms
}

// API has the response times of a reaper with many candidates, and their effect on its destroys.
type API struct {
	Namespaces int           `json:"namespaces"`
	Candidates int           `json:"candidates"`
	Rows       []APIRow      `json:"rows"`
	Lateness   []LatenessRow `json:"lateness"`
}

// listName is the name of the command's whole list in rows. It has a target beside the loop.
const listName = "halfclose sockets --output json"

// row returns the row of a way, without figures if there is none.
func (a *API) row(way string) APIRow {
	for _, r := range a.Rows {
		if r.Way == way {
			return r
		}
	}
	return APIRow{Way: way}
}

// request is one way to query the reaper.
type request struct {
	name   string
	target bool
	send   func(ctx context.Context) (int64, error)
}

// measureAPI sends requests to the real reaper on a full node.
func measureAPI(ctx context.Context, o options, nd *netnsSet) (_ *API, err error) {
	rounds, namespaces := 40, 250
	if o.short {
		rounds, namespaces = 4, len(nd.names)-disturbed
	}
	if err := nd.fill(0, namespaces, perNamespace()); err != nil {
		return nil, err
	}
	if err := nd.fill(namespaces, len(nd.names), sockets{}); err != nil {
		return nil, err
	}
	store := state.New(filepath.Join(runDir, "api"))
	if err := record(store, nd.targets[:namespaces], policy.Default()); err != nil {
		return nil, err
	}
	cmd, err := startReaper(o, store, "--max-destroys-per-second", "0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, endReaper(cmd)) }()
	a := &API{Namespaces: namespaces, Candidates: namespaces * perNamespace().halfClosed()}
	if err := awaitCandidates(ctx, store, a.Candidates); err != nil {
		return nil, err
	}
	progress("sending requests to a reaper with %d candidates", a.Candidates)
	for _, q := range requests(o, store, nd) {
		row, err := q.measure(ctx, rounds)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", q.name, err)
		}
		a.Rows = append(a.Rows, row)
	}
	a.Lateness, err = measureDisturbed(ctx, store, nd, namespaces)
	return a, err
}

// requests returns the measured requests, and the ss loop that an operator would run without halfclose.
func requests(o options, store *state.Store, nd *netnsSet) []request {
	client := overSocket(store.SocketPath())
	get := func(path string) func(context.Context) (int64, error) {
		return func(ctx context.Context) (int64, error) { return fetch(ctx, client, path) }
	}
	command := func(args ...string) func(context.Context) (int64, error) {
		return func(ctx context.Context) (int64, error) {
			out, err := exec.CommandContext(ctx, o.halfclose, append(args, "--state-dir", store.Dir())...).Output()
			return int64(len(out)), err
		}
	}
	return []request{
		{"GET /metrics", true, get("/metrics")},
		{"GET /v1/status", true, get("/v1/status")},
		{"GET /v1/sockets", true, get("/v1/sockets")},
		{"halfclose status", false, command("status")},
		{"halfclose sockets", false, command("sockets")},
		{listName, false, command("sockets", "--output", "json")},
		{loopName, false, func(ctx context.Context) (int64, error) {
			out, err := loop(ctx, nd.targets).Output()
			return int64(len(out)), err
		}},
	}
}

// measure sends the request once a round.
func (q request) measure(ctx context.Context, rounds int) (APIRow, error) {
	row := APIRow{Way: q.name, Rounds: rounds, Target: q.target}
	var took []time.Duration
	for range rounds {
		began := time.Now()
		n, err := q.send(ctx)
		if err != nil {
			return row, err
		}
		if n == 0 {
			return row, errors.New("the answer is empty")
		}
		took, row.Bytes = append(took, time.Since(began)), n
	}
	row.P50, row.Worst = milliseconds(median(took)), milliseconds(slices.Max(took))
	return row, nil
}

// overSocket returns an HTTP client for a unix socket.
func overSocket(path string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
}

// fetch requests a path, and returns the length of the answer.
func fetch(ctx context.Context, client *http.Client, path string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://reaper"+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return n, err
}
