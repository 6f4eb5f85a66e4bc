// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// A full node: its namespaces, and the half-closed sockets in each.
const (
	crowdNamespaces = 250
	crowdSockets    = 200
)

// crowdedLoop is the loop of a reaper on a full node.
func crowdedLoop(tb testing.TB) *loop {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	l := newLoop(Config{Clock: monotime.Fake{}, Finder: finder.NewSockDiag(finder.Config{Clock: monotime.Fake{}, CPUBudget: 1}), Log: log, Mode: policy.Destroy}, newWarnings(log), newHistograms(), "boot", "")
	at := now()
	for i := range uint64(crowdNamespaces) {
		ns := newRegistered(i + 1)
		ns.policies[0] = policy.Default()
		ns.records = []state.Record{{
			Network:    "k8s-pod-network",
			Attachment: state.Attachment{ContainerID: fmt.Sprintf("%064x", i), IfName: "eth0"},
			Netns:      state.Netns{Path: fmt.Sprintf("/run/netns/cni-01234567-89ab-cdef-0123-%012x", i), Identity: ns.Identity},
			Pod:        state.Pod{Namespace: fmt.Sprintf("team-%d", i%20), Name: fmt.Sprintf("web-7d4b9c6f5d-%05d", i)},
			Layers:     LayersOf(ns.policies[0]),
		}}
		l.registry.namespaces[ns.Identity] = ns
		l.registry.census.Active += len(ns.records)
		for j := range uint64(crowdSockets) {
			l.tracker.seen(ns, seenAt(i<<16+j+1, time.Duration(j)*time.Second, at), at)
		}
	}
	return l
}

// wholeStatus returns the same as Status.
func wholeStatus(l *loop) api.ReaperStatus {
	s := l.status()
	for _, ns := range l.registry.namespaces {
		addNamespace(&s, l, ns, now())
	}
	finishStatus(&s)
	return s
}

// wholeMetrics returns the same as Metrics.
func wholeMetrics(l *loop) Metrics {
	m := l.metrics()
	for _, ns := range l.registry.namespaces {
		m.add(ns, now())
	}
	return m
}

// eachKnown does the part of EachSocket for known sockets.
func eachKnown(l *loop, yield func(*api.SocketView)) {
	var s survey
	for id := range l.registry.namespaces {
		l.survey(id, &s)
		for _, v := range oldestFirst(s.fromMemory(api.SocketQuery{})) {
			yield(v)
		}
	}
}

func BenchmarkReadMetrics(b *testing.B) {
	l := crowdedLoop(b)
	b.ReportAllocs()
	for b.Loop() {
		wholeMetrics(l)
	}
}

func BenchmarkReadStatus(b *testing.B) {
	l := crowdedLoop(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := json.NewEncoder(io.Discard).Encode(wholeStatus(l)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadSurveys is the part of a listing of all sockets that runs on the loop.
func BenchmarkReadSurveys(b *testing.B) {
	l := crowdedLoop(b)
	b.ReportAllocs()
	for b.Loop() {
		var s survey
		for id := range l.registry.namespaces {
			l.survey(id, &s)
		}
	}
}

func BenchmarkReadSockets(b *testing.B) {
	l := crowdedLoop(b)
	b.ReportAllocs()
	for b.Loop() {
		enc := json.NewEncoder(io.Discard)
		eachKnown(l, func(v *api.SocketView) {
			if err := enc.Encode(v); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkDecodeSockets decodes the list as a client does.
func BenchmarkDecodeSockets(b *testing.B) {
	var list api.SocketList
	eachKnown(crowdedLoop(b), func(v *api.SocketView) { list.Sockets = append(list.Sockets, *v) })
	text, err := json.Marshal(list)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var got api.SocketList
		if err := json.Unmarshal(text, &got); err != nil {
			b.Fatal(err)
		}
	}
}
