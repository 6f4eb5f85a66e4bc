// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/finder"
)

// finders lists the finders for measurements of a whole reaper.
func finders() []string { return []string{finder.NameSockDiag, finder.NameBPF} }

// The two ways of the bpf finder. Both have targets.
const (
	setName  = "halfclose's bpf finder, its set"
	walkName = "halfclose's bpf finder, its walk"
)

// watching loads the bpf finder's programs for the namespaces, and walks once, so that their set has the existing
// half-closed sockets.
func watching(targets []finder.Netns) (*bpf.Programs, error) {
	return watchingWith(targets, bpf.Options{})
}

func watchingWith(targets []finder.Netns, o bpf.Options) (*bpf.Programs, error) {
	p, err := bpf.Load(o)
	if err != nil {
		return nil, err
	}
	cookies := make([]uint64, len(targets))
	for i, t := range targets {
		cookies[i] = t.Identity.Cookie
	}
	if err = p.Watch(cookies); err == nil {
		err = p.Walk(func(*bpf.OwnedSocket) error { return nil })
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// findBySet and findByWalk find the half-closed sockets of all watched namespaces.
func findBySet(p *bpf.Programs) func(context.Context, []finder.Netns) (int, error) {
	return func(context.Context, []finder.Netns) (n int, err error) {
		err = p.Entries(func(*bpf.Socket) error { n++; return nil })
		return n, err
	}
}

func findByWalk(p *bpf.Programs) func(context.Context, []finder.Netns) (int, error) {
	return func(context.Context, []finder.Netns) (n int, err error) {
		err = p.Walk(func(*bpf.OwnedSocket) error { n++; return nil })
		return n, err
	}
}

// statsFile is the sysctl for run-time statistics of BPF programs.
const statsFile = "/proc/sys/kernel/bpf_stats_enabled"

// countingBPF enables these statistics while fn runs.
func countingBPF(fn func() error) error {
	was, err := os.ReadFile(statsFile)
	if err == nil {
		err = os.WriteFile(statsFile, []byte("1"), 0)
	}
	if err != nil {
		return fmt.Errorf("have the kernel count what BPF programs cost: %w", err)
	}
	defer os.WriteFile(statsFile, was, 0) //nolint:errcheck // it was writable before
	return fn()
}
