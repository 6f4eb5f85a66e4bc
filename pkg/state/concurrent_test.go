// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/halfclose/halfclose/pkg/state"
)

func TestAThousandRoundsLeaveNothing(t *testing.T) {
	s := newStore(t)
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	r := record(t, "c", "eth0")
	before := fds()
	for i := range 1000 {
		r.ContainerID = fmt.Sprintf("c%d", i%7)
		put(t, s, r)
		if err := s.Delete(r.Attachment); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(t, s); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
	if after := fds(); after > before {
		t.Errorf("%d descriptors are open, want no more than the %d before", after, before)
	}
}

func TestConcurrentReadersSeeWholeRecords(t *testing.T) {
	s := newStore(t)
	stays := record(t, "stays", "eth0")
	put(t, s, stays)
	variants := []state.Record{record(t, "x", "eth0"), record(t, "x", "eth0")}
	variants[1].Warnings = []string{strings.Repeat("a longer one ", 1000)}
	whole := func(got state.Record) bool {
		return slices.ContainsFunc(variants, func(want state.Record) bool { return equal(want, got) })
	}
	var writers, readers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for n := range 100 {
				if err := s.Put(variants[(i+n)%2]); err != nil {
					t.Errorf("Put: %v", err)
				}
				if n%10 == 9 {
					if err := errors.Join(s.Delete(variants[0].Attachment), s.Prune()); err != nil {
						t.Errorf("Delete and Prune: %v", err)
					}
				}
			}
		})
	}
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got, err := s.Get(variants[0].Attachment); err == nil && !whole(got) || err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Get = %+v, %v, want a whole record or none", got, err)
				}
				l, err := s.List(t.Context())
				if err != nil || len(l.Problems) > 0 || len(l.Records) == 0 || !equal(l.Records[0], stays) {
					t.Errorf("List = %+v, %v, want no problem, and the record that stays", l, err)
				}
				for _, got := range l.Records[1:] {
					if !whole(got) {
						t.Errorf("List has %+v, want a whole record", got)
					}
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
}

// The child only calls Put, and is killed at a random moment.
func TestAKilledWriterLeavesAWholeRecord(t *testing.T) {
	const child = "HALFCLOSE_TEST_WRITER"
	variants := []state.Record{record(t, "c", "eth0"), record(t, "c", "eth0")}
	variants[1].Warnings = []string{strings.Repeat("a longer one ", 10000)}
	if dir := os.Getenv(child); dir != "" {
		for i := 0; ; i++ {
			put(t, state.New(dir), variants[i%2])
			fmt.Fprintln(os.Stdout, "put")
		}
	}
	s := newStore(t)
	for puts := range 10 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), child+"="+s.Dir())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range puts + 1 {
			if !lines.Scan() || lines.Text() != "put" {
				t.Errorf("the writer said %q (%v)", lines.Text(), lines.Err())
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // killed
		l := list(t, s)
		if len(l.Problems) > 0 || len(l.Records) != 1 || !equal(l.Records[0], variants[0]) && !equal(l.Records[0], variants[1]) {
			t.Fatalf("after %d puts: %+v, want one of the two records whole", puts+1, l)
		}
	}
}
