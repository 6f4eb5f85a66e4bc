// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// testClock is a wall clock that a test sets, and a monotonic clock that follows unless it is set apart.
type testClock struct {
	mu   sync.Mutex
	wall time.Time
	mono monotime.Time
}

func newClock() *testClock {
	return &testClock{wall: time.Date(2026, 11, 29, 9, 30, 0, 0, time.UTC), mono: monotime.Time(time.Hour)}
}

func (c *testClock) Wall() time.Time    { c.mu.Lock(); defer c.mu.Unlock(); return c.wall }
func (c *testClock) Now() monotime.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.mono }

// pass lets time pass on both clocks.
func (c *testClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.mono = c.wall.Add(d), c.mono.Add(d)
}

// set sets the wall clock alone.
func (c *testClock) set(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

// kindNote is the kind of the lines with a note.
const kindNote history.Kind = "note"

type note struct {
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

// write runs a writer until all lines that append adds are written, and returns its state.
func write(t *testing.T, cfg history.WriterConfig, add func(w *history.Writer)) history.Stats {
	t.Helper()
	w, stop := start(t, cfg)
	add(w)
	stop()
	return w.Stats()
}

// start starts a writer.
func start(t *testing.T, cfg history.WriterConfig) (w *history.Writer, stop func()) {
	t.Helper()
	if cfg.Clock == nil {
		cfg.Clock = newClock()
	}
	if cfg.Run == "" {
		cfg.Run = "test"
	}
	cfg.Warn = func(text string, args ...any) { t.Log(append([]any{text}, args...)...) }
	w = history.NewWriter(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	go w.Run(ctx)
	stop = sync.OnceFunc(func() {
		cancel()
		<-w.Done()
	})
	t.Cleanup(stop)
	return w, stop
}

func reader(t *testing.T, dir string) *history.Reader {
	t.Helper()
	r, err := history.NewReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// numbers returns the N of all notes, and checks that reading backward gives the same.
func numbers(t *testing.T, dir string, q history.Query) (list []int) {
	t.Helper()
	r := reader(t, dir)
	for line := range r.Forward(q) {
		if line.Kind != kindNote {
			continue
		}
		var n note
		if err := line.Decode(&n); err != nil {
			t.Fatal(err)
		}
		list = append(list, n.N)
	}
	var back []int
	for line := range r.Backward(q) {
		if line.Kind != kindNote {
			continue
		}
		var n note
		if err := line.Decode(&n); err != nil {
			t.Fatal(err)
		}
		back = append(back, n.N)
	}
	slices.Reverse(back)
	if !slices.Equal(list, back) {
		t.Errorf("forward %v, backward %v", list, back)
	}
	return list
}

func TestLinesAreReadInTheOrderOfWriting(t *testing.T) {
	dir := filepath.Join(nstest.ShortDir(t), "history")
	clock := newClock()
	write(t, history.WriterConfig{Dir: dir, Clock: clock}, func(w *history.Writer) {
		for i := range 100 {
			w.Append(kindNote, clock.Wall(), note{N: i})
			clock.pass(time.Second)
		}
	})
	if got := numbers(t, dir, history.Query{}); len(got) != 100 || !slices.IsSorted(got) {
		t.Errorf("read %v", got)
	}
	begin := newClock().Wall()
	if got := numbers(t, dir, history.Query{Since: begin.Add(10 * time.Second), Until: begin.Add(12 * time.Second)}); !slices.Equal(got, []int{10, 11, 12}) {
		t.Errorf("of three seconds: %v", got)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v", info, err)
	}
	for _, name := range segments(t, dir) {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("a segment is %v, %v", info, err)
		}
	}
}

func segments(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestTheNextReaperContinuesTheLastSegment(t *testing.T) {
	dir := filepath.Join(nstest.ShortDir(t), "history")
	clock := newClock()
	for i := range 20 {
		write(t, history.WriterConfig{Dir: dir, Clock: clock, Run: fmt.Sprint("run", i)}, func(w *history.Writer) {
			w.Append(kindNote, clock.Wall(), note{N: i})
		})
		clock.pass(time.Minute)
	}
	if got := numbers(t, dir, history.Query{}); len(got) != 20 || !slices.IsSorted(got) {
		t.Errorf("read %v", got)
	}
	if names := segments(t, dir); len(names) != 1 {
		t.Errorf("20 short runs left %v", names)
	}
}
