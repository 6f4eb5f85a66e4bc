// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Candidates is the memory of a reaper with many more candidates than a node has, and its restart.
type Candidates struct {
	Few  Memory `json:"few"`
	Many Memory `json:"many"`
	// PerCandidate is the difference of both medians for each additional candidate.
	PerCandidate float64 `json:"bytesPerCandidate"`
	Saved        float64 `json:"savedMebibytes"` // size of the file of ages
	Stop         float64 `json:"stopSeconds"`    // from SIGTERM to the exit: it saves the ages
	Known        float64 `json:"knownSeconds"`   // from the start until all are known again
	CPU          float64 `json:"restartCPUSeconds"`
	// Kept are the candidates whose age at the restart is from before it.
	Kept int    `json:"keptAges"`
	Load string `json:"load"`
}

// candidatesSize is the number of namespaces, and the connections of each with few and with many candidates.
type candidatesSize struct {
	namespaces, few, many int
	watch                 time.Duration
}

func (o options) candidatesSize() candidatesSize {
	if o.short {
		return candidatesSize{4, 2, 20, time.Second}
	}
	return candidatesSize{1000, 25, 250, 40 * time.Second}
}

// measureCandidates runs the real reaper with 50,000 candidates and then with 500,000, and restarts it.
func measureCandidates(ctx context.Context, o options) (c *Candidates, err error) {
	size := o.candidatesSize()
	if err := needMemory(2 * size.many * size.namespaces); err != nil {
		return nil, err
	}
	progress("making %d namespaces for %d candidates", size.namespaces, 2*size.many*size.namespaces)
	nd, err := newNetnsSet("many-", size.namespaces, false, 2*size.many)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nd.end()) }()
	store := state.New(filepath.Join(runDir, "candidates"))
	p := policy.Default()
	p.CloseWaitGrace, p.FinWait2Grace = policy.Patience(time.Hour), policy.Patience(time.Hour)
	p.ProbeAfter = policy.Never
	if err := record(store, nd.targets, p); err != nil {
		return nil, err
	}
	c = &Candidates{}
	flags := []string{"--finder", finder.NameBPF, "--bpf-sockets", strconv.Itoa(3 * size.many * size.namespaces)}
	for _, m := range []struct {
		*Memory
		shut int
	}{{&c.Few, size.few}, {&c.Many, size.many}} {
		s := sockets{Shut: m.shut}
		if err := nd.fill(0, size.namespaces, s); err != nil {
			return nil, err
		}
		*m.Memory = Memory{Finder: finder.NameBPF, Namespaces: size.namespaces, Candidates: size.namespaces * s.halfClosed()}
		progress("watching the memory of a reaper with %d candidates for %v", m.Candidates, size.watch)
		cmd, err := startReaper(o, store, flags...)
		if err != nil {
			return nil, err
		}
		err = m.watch(ctx, cmd.Process.Pid, store, size.watch)
		began := time.Now()
		if err = errors.Join(err, endReaper(cmd)); err != nil {
			return nil, err
		}
		c.Stop = time.Since(began).Seconds()
	}
	c.PerCandidate = (c.Many.Median - c.Few.Median) * (1 << 20) / float64(c.Many.Candidates-c.Few.Candidates)
	c.Load = readLoad()
	return c, c.restart(ctx, o, store, flags)
}

// restart starts the reaper again, and waits until it knows all candidates with their ages.
func (c *Candidates) restart(ctx context.Context, o options, store *state.Store, flags []string) error {
	info, err := os.Stat(store.CandidatesPath())
	if err != nil {
		return fmt.Errorf("the ages were not saved: %w", err)
	}
	c.Saved = float64(info.Size()) / (1 << 20)
	progress("restarting a reaper with %d saved ages", c.Many.Candidates)
	began := time.Now()
	cmd, err := startReaper(o, store, flags...)
	if err != nil {
		return err
	}
	err = awaitCandidates(ctx, store, c.Many.Candidates)
	known := time.Since(began)
	if err == nil {
		var used time.Duration
		used, err = usedBy(cmd.Process.Pid)
		c.Known, c.CPU = known.Seconds(), used.Seconds()
	}
	if err == nil {
		c.Kept, err = olderThan(ctx, store, time.Since(began))
	}
	return errors.Join(err, endReaper(cmd))
}

// olderThan counts the candidates whose age is at least this: the lines of the answer before the last one.
func olderThan(ctx context.Context, store *state.Store, age time.Duration) (n int, err error) {
	client := overSocket(store.SocketPath())
	client.Timeout = 5 * patience
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://reaper/v1/sockets?older-than="+age.String(), http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		n++
	}
	if resp.StatusCode != http.StatusOK || n == 0 {
		return 0, errors.Join(lines.Err(), fmt.Errorf("list sockets: %s, %d lines", resp.Status, n))
	}
	return n - 1, lines.Err()
}
