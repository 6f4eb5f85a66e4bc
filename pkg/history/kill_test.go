// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// The environment of a test process that writes to a directory: all notes from a number on, until it is killed, or up to
// another number.
const (
	envDir  = "_HALFCLOSE_HISTORY_DIR"
	envFrom = "_HALFCLOSE_HISTORY_FROM"
	envTo   = "_HALFCLOSE_HISTORY_TO"
)

func TestMain(m *testing.M) {
	err := inject.Main()
	if dir := os.Getenv(envDir); err == nil && dir != "" {
		err = play(dir)
		if err == nil {
			os.Exit(0)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(nstest.Main(m))
}

func play(dir string) error {
	from, err := strconv.Atoi(os.Getenv(envFrom))
	if err != nil {
		return err
	}
	if to := os.Getenv(envTo); to != "" {
		last, err := strconv.Atoi(to)
		if err != nil {
			return err
		}
		writeEach(dir, from, last)
		return nil
	}
	w := history.NewWriter(history.WriterConfig{Dir: dir, Run: fmt.Sprint("run", from), Clock: monotime.Fake{}, SegmentBytes: 64 << 10})
	go w.Run(context.Background())
	for i := from; ; i++ {
		for w.Stats().Waiting > 1000 {
			time.Sleep(time.Millisecond)
		}
		w.Append(kindNote, time.Now(), note{N: i})
	}
}

// The bounds of a store of a few short segments: the writer creates some, and removes the oldest.
const (
	shortSegment = 512
	shortStore   = 4 * shortSegment
)

// writeEach writes notes one after the other, and prints the number of each that is written.
func writeEach(dir string, from, to int) {
	w := history.NewWriter(history.WriterConfig{
		Dir: dir, Run: fmt.Sprint("run", from), Clock: monotime.Fake{}, SegmentBytes: shortSegment, Bytes: shortStore,
	})
	ctx, cancel := context.WithCancel(context.Background())
	go w.Run(ctx)
	for i := from; i < to; i++ {
		w.Append(kindNote, time.Now(), note{N: i, Text: strings.Repeat("x", 60)})
		for w.Stats().Written < uint64(i-from+1) {
			time.Sleep(100 * time.Microsecond)
		}
		fmt.Println(i)
	}
	cancel()
	<-w.Done()
}

func TestAKillLosesOnlyTheQueueAndDoublesNothing(t *testing.T) {
	dir := historyDir(t)
	next := 0
	for range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envDir+"="+dir, envFrom+"="+strconv.Itoa(next))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := func() int {
			for line := range reader(t, dir).Backward(history.Query{}) {
				var n note
				if line.Decode(&n) == nil {
					return n.N
				}
			}
			return -1
		}
		nstest.Eventually(t, patience, "it writes", func() bool { return last() > next+100 })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		next = last() + 1
	}
	wantNumbers(t, dir, history.Query{}, 0, next)
}

// killedWriter is a process that continues a store of three notes, and is killed.
type killedWriter struct {
	dir    string
	output outputtest.Buffer
}

const (
	notesBefore = 3
	notesAfter  = 20
)

func (k *killedWriter) command(t *testing.T) *exec.Cmd {
	t.Helper()
	*k = killedWriter{dir: historyDir(t)}
	write(t, history.WriterConfig{Dir: k.dir, Clock: monotime.Fake{}, SegmentBytes: shortSegment, Bytes: shortStore}, func(w *history.Writer) {
		for i := range notesBefore {
			w.Append(kindNote, time.Now(), note{N: i, Text: strings.Repeat("x", 60)})
		}
	})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envDir+"="+k.dir, envFrom+"="+strconv.Itoa(notesBefore), envTo+"="+strconv.Itoa(notesAfter))
	cmd.Stdout, cmd.Stderr = &k.output, &k.output
	return cmd
}

// check checks that all notes that were written can be read, each once and whole, also by the next writer, which continues.
// The oldest may have made room.
func (k *killedWriter) check(t *testing.T, before string) {
	t.Helper()
	written := notesBefore - 1
	lines := bufio.NewScanner(strings.NewReader(k.output.String()))
	for lines.Scan() {
		written, _ = strconv.Atoi(lines.Text())
	}
	got := numbers(t, k.dir, history.Query{})
	// The last line may be written, and its number not printed yet.
	if last := len(got) - 1; last < 0 || got[last] != written && got[last] != written+1 || !isConsecutive(got) {
		t.Errorf("killed before %s, after note %d was written: read %v", before, written, got)
		return
	}
	next := got[len(got)-1] + 1
	stats := write(t, history.WriterConfig{Dir: k.dir, Clock: monotime.Fake{}, Run: "next", SegmentBytes: shortSegment, Bytes: shortStore}, func(w *history.Writer) {
		w.Append(kindNote, time.Now(), note{N: next})
	})
	if again := numbers(t, k.dir, history.Query{}); !isConsecutive(again) || !slices.Contains(again, next) || stats.Problem != "" {
		t.Errorf("killed before %s: the next writer (problem %q) continues %v as %v", before, stats.Problem, got, again)
	}
	for _, name := range segments(t, k.dir) {
		if info, err := os.Stat(k.dir + "/" + name); err != nil || info.Size() == 0 {
			t.Errorf("killed before %s: segment %s is empty (%v)", before, name, err)
		}
	}
}

func isConsecutive(list []int) bool {
	for i, n := range list {
		if n != list[0]+i {
			return false
		}
	}
	return true
}

func TestAKillBetweenAnyTwoSystemCallsLosesNoWrittenLine(t *testing.T) {
	t.Parallel()
	var k killedWriter
	inject.KillBeforeEach(t, func() (*exec.Cmd, string) { return k.command(t), k.dir }, func(before string) { k.check(t, before) })
}

func TestAKillInTheMiddleOfAWriteLosesOnlyItsLine(t *testing.T) {
	t.Parallel()
	for skip := 0; ; skip++ {
		var k killedWriter
		cmd := k.command(t)
		written := func(c *inject.Call) bool { return c.Below(k.dir) }
		calls := []uintptr{unix.SYS_WRITE}
		s, err := inject.Start(cmd, calls)
		if err != nil {
			nstest.NeedPrivilege(t, "install a seccomp filter", err)
		}
		cut := s.Inject(inject.Fault{Calls: calls, Where: written, Skip: skip, Times: 1, Effect: inject.Short(30)})
		killed := s.Inject(inject.Fault{Calls: calls, Where: written, Skip: skip, Effect: inject.Kill()}) // the write of the rest
		_ = cmd.Wait()                                                                                    // it was killed, or has succeeded
		<-s.Done()
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
		if cut.Hits() == 0 {
			return
		}
		if killed.Hits() == 0 {
			t.Errorf("after write %d was cut short, the rest was not written: %s", skip, k.output.String())
		}
		k.check(t, fmt.Sprintf("the rest of write %d", skip))
	}
}
