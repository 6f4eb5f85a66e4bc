// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/monotime"
)

const patience = 30 * time.Second

// notes appends notes with consecutive numbers.
func notes(clock *testClock, from, to int) func(*history.Writer) {
	return func(w *history.Writer) {
		for i := from; i < to; i++ {
			w.Append(kindNote, clock.Wall(), note{N: i})
			clock.pass(time.Second)
		}
	}
}

func wantNumbers(t *testing.T, dir string, q history.Query, from, to int) {
	t.Helper()
	var want []int
	for i := from; i < to; i++ {
		want = append(want, i)
	}
	if got := numbers(t, dir, q); !slices.Equal(got, want) {
		t.Errorf("read %v, want %d to %d", got, from, to-1)
	}
}

func historyDir(t *testing.T) string { return filepath.Join(nstest.ShortDir(t), "history") }

func TestAppendNeverWaits(t *testing.T) {
	clock := newClock()
	w := history.NewWriter(history.WriterConfig{Dir: historyDir(t), Run: "r", Clock: clock, Queue: 10}) // it does not run
	notes(clock, 0, 25)(w)
	if s := w.Stats(); s.Waiting != 10 || s.Lost != 15 {
		t.Errorf("%d wait and %d are lost, want 10 and 15", s.Waiting, s.Lost)
	}
}

func TestATornLastLineIsSkippedAndCutOff(t *testing.T) {
	dir, clock := historyDir(t), newClock()
	write(t, history.WriterConfig{Dir: dir, Clock: clock}, notes(clock, 0, 10))
	path := filepath.Join(dir, segments(t, dir)[0])
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-3); err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, dir, history.Query{}, 0, 9)
	stats := write(t, history.WriterConfig{Dir: dir, Clock: clock}, notes(clock, 9, 12))
	if !strings.Contains(stats.Damage, "its last line was cut") {
		t.Errorf("it is not reported: %+v", stats)
	}
	wantNumbers(t, dir, history.Query{}, 0, 12)
	if names := segments(t, dir); len(names) != 1 {
		t.Errorf("the segment is not continued: %v", names)
	}
	r := reader(t, dir)
	for range r.Forward(history.Query{}) {
	}
	if r.Skipped() != 0 || r.Problems() != nil {
		t.Errorf("%d lines are skipped, %v", r.Skipped(), r.Problems())
	}
}

func TestATruncatedStoreStartsAgain(t *testing.T) {
	dir, clock := historyDir(t), newClock()
	small := history.WriterConfig{Dir: dir, Clock: clock, SegmentBytes: 512}
	write(t, small, notes(clock, 0, 50))
	for _, name := range segments(t, dir) {
		if err := os.Truncate(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	stats := write(t, small, notes(clock, 50, 53))
	if !strings.Contains(stats.Damage, "were empty") || stats.Problem != "" {
		t.Errorf("it is not reported: %+v", stats)
	}
	wantNumbers(t, dir, history.Query{}, 50, 53)
}

func TestDamagedAndForeignFilesAreSkippedAndCounted(t *testing.T) {
	dir, clock := historyDir(t), newClock()
	write(t, history.WriterConfig{Dir: dir, Clock: clock}, notes(clock, 0, 5))
	put := func(number int, content string) string {
		name := fmt.Sprintf("%08d-20261129T100000Z.ndjson", number)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const line = `{"kind":"note","run":"x","at":1764408600000000,"n":5}` + "\n"
	headless := put(2, line)
	later := put(3, `{"kind":"segment","run":"x","at":1764408600000000,"version":2}`+"\n"+line)
	put(4, `{"kind":"segment","run":"x","at":1764408600000000,"version":1}`+"\n"+
		"garbage\n\n{}\n\x00\xff\n"+strings.Repeat("x", 3<<20)+"\n"+strings.Replace(line, "5}", "6}", 1))
	put(5, "")
	if err := os.WriteFile(filepath.Join(dir, "README"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "00000006-20261129T100000Z.ndjson"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "00000007-20261129T100000Z.ndjson"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "00000008-20261129T100000Z.ndjson")); err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, dir, history.Query{}, 0, 7)
	r := reader(t, dir)
	for range r.Forward(history.Query{}) {
	}
	problems := strings.Join(r.Problems(), "\n")
	for _, want := range []string{headless + ": its first line is missing", later + ": it has version 2", "00000007", "00000008", "not a regular file"} {
		if !strings.Contains(problems, want) {
			t.Errorf("%q is not reported:\n%s", want, problems)
		}
	}
	if r.Skipped() != 5 {
		t.Errorf("%d lines are skipped, want 5", r.Skipped())
	}
	write(t, history.WriterConfig{Dir: dir, Clock: clock}, notes(clock, 7, 9))
	wantNumbers(t, dir, history.Query{}, 0, 9)
}

func TestASegmentThatAnotherProgramChangesIsGivenUp(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"removed":   os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, 0) },
		"appended": func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("x")
			return errors.Join(err, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, clock := historyDir(t), newClock()
			w, stop := start(t, history.WriterConfig{Dir: dir, Clock: clock})
			notes(clock, 0, 3)(w)
			awaitWritten(t, w, 3)
			if err := change(filepath.Join(dir, segments(t, dir)[0])); err != nil {
				t.Fatal(err)
			}
			notes(clock, 3, 6)(w)
			stop()
			if s := w.Stats(); !strings.Contains(s.Damage, "by another program") || s.Lost != 0 {
				t.Errorf("it is not reported: %+v", s)
			}
			from := 3
			if name == "appended" {
				from = 0
			}
			wantNumbers(t, dir, history.Query{}, from, 6)
		})
	}
}

func awaitWritten(t *testing.T, w *history.Writer, n uint64) {
	t.Helper()
	nstest.Eventually(t, patience, fmt.Sprintf("%d lines are written", n), func() bool { return w.Stats().Written >= n })
}

// mountTmpfs mounts a small file system on a new directory.
func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := nstest.ShortDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		if errors.Is(err, unix.EPERM) {
			nstest.NeedPrivilege(t, "mount a tmpfs", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestAFullDiskLosesLinesThatAreCounted(t *testing.T) {
	mount := mountTmpfs(t, "size=64k,mode=700")
	dir, clock := filepath.Join(mount, "history"), newClock()
	ballast := filepath.Join(mount, "ballast")
	w, stop := start(t, history.WriterConfig{Dir: dir, Clock: clock, Queue: 8})
	notes(clock, 0, 3)(w)
	awaitWritten(t, w, 3)
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	long := strings.Repeat("x", 5000) // more than the rest of the page
	for i := range 40 {
		w.Append(kindNote, clock.Wall(), note{N: 3 + i, Text: long})
		clock.pass(time.Second)
	}
	var s history.Stats
	nstest.Eventually(t, patience, "the full disk is reported", func() bool { s = w.Stats(); return strings.Contains(s.Problem, "no space left on device") })
	if s.Lost == 0 || s.Waiting == 0 || s.Lost+uint64(s.Waiting) > 40 {
		t.Errorf("of 40 lines %d wait and %d are lost", s.Waiting, s.Lost)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, patience, "the waiting lines are written", func() bool { s = w.Stats(); return s.Problem == "" && s.Waiting == 0 })
	w.Append(kindNote, clock.Wall(), note{N: 43})
	stop()
	got := numbers(t, dir, history.Query{})
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) || got[len(got)-1] != 43 {
		t.Errorf("read %v", got)
	}
	if len(got)+int(w.Stats().Lost) != 44 {
		t.Errorf("of 44 lines %d are written and %d lost", len(got), w.Stats().Lost)
	}
	var lost history.Loss
	for line := range reader(t, dir).Forward(history.Query{Kinds: []history.Kind{history.KindLost}}) {
		if err := line.Decode(&lost); err != nil {
			t.Fatal(err)
		}
	}
	if lost.Lines != w.Stats().Lost || !strings.Contains(lost.Why, "no space left") || lost.From.IsZero() || lost.To.Before(lost.From) {
		t.Errorf("the loss is recorded as %+v", lost)
	}
}

func TestAReadOnlyDiskIsReportedAndTriedAgain(t *testing.T) {
	mount := mountTmpfs(t, "mode=700")
	dir, clock := filepath.Join(mount, "history"), newClock()
	write(t, history.WriterConfig{Dir: dir, Clock: clock}, notes(clock, 0, 3))
	if err := unix.Mount("", mount, "", unix.MS_REMOUNT|unix.MS_RDONLY, "mode=700"); err != nil {
		t.Fatal(err)
	}
	w, stop := start(t, history.WriterConfig{Dir: dir, Clock: clock})
	notes(clock, 3, 6)(w)
	nstest.Eventually(t, patience, "it is reported", func() bool { return strings.Contains(w.Stats().Problem, "read-only file system") })
	wantNumbers(t, dir, history.Query{}, 0, 3)
	if err := unix.Mount("", mount, "", unix.MS_REMOUNT, "mode=700"); err != nil {
		t.Fatal(err)
	}
	awaitWritten(t, w, 3)
	stop()
	wantNumbers(t, dir, history.Query{}, 0, 6)
}

func TestADirectoryOfAnotherUserIsNotUsed(t *testing.T) {
	dir, clock := historyDir(t), newClock()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	w, stop := start(t, history.WriterConfig{Dir: dir, Clock: clock})
	notes(clock, 0, 3)(w)
	nstest.Eventually(t, patience, "it is reported", func() bool { return strings.Contains(w.Stats().Problem, "chmod go-w") })
	if names := segments(t, dir); names != nil {
		t.Errorf("it has %v", names)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	awaitWritten(t, w, 3)
	stop()
	wantNumbers(t, dir, history.Query{}, 0, 3)
}

func TestAClockThatIsSetBackStartsASegment(t *testing.T) {
	dir, clock := historyDir(t), newClock()
	begin := clock.Wall()
	w, stop := start(t, history.WriterConfig{Dir: dir, Clock: clock})
	notes(clock, 0, 3)(w)
	clock.set(-24 * time.Hour)
	notes(clock, 3, 6)(w)
	clock.set(48 * time.Hour)
	notes(clock, 6, 9)(w)
	stop()
	wantNumbers(t, dir, history.Query{}, 0, 9) // in the order of writing
	wantNumbers(t, dir, history.Query{Since: begin, Until: begin.Add(time.Minute)}, 0, 3)
	wantNumbers(t, dir, history.Query{Until: begin.Add(-time.Hour)}, 3, 6)
	wantNumbers(t, dir, history.Query{Since: begin.Add(time.Hour)}, 6, 9)
	if names := segments(t, dir); len(names) != 2 || !slices.IsSorted(names) {
		t.Errorf("the segments are %v", names)
	}
}

func TestTheSizeIsBounded(t *testing.T) {
	dir, clock := historyDir(t), newClock()
	cfg := history.WriterConfig{Dir: dir, Clock: clock, SegmentBytes: 4 << 10, Bytes: 32 << 10}
	w, stop := start(t, cfg)
	for i := range 2000 {
		w.Append(kindNote, clock.Wall(), note{N: i})
		if clock.pass(time.Second); i%20 == 19 { // a batch may be larger than a segment
			awaitWritten(t, w, uint64(i))
			size := 0
			for _, name := range segments(t, dir) {
				if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
					size += int(info.Size())
				}
			}
			if size > 32<<10 {
				t.Fatalf("it has %d bytes", size)
			}
		}
	}
	stop()
	got := numbers(t, dir, history.Query{})
	if got[len(got)-1] != 1999 || !slices.IsSorted(got) || len(got) < 300 || got[len(got)-1]-got[0] != len(got)-1 {
		t.Errorf("it keeps %d lines, from %d to %d", len(got), got[0], got[len(got)-1])
	}
	if s := w.Stats(); s.Bytes > 32<<10 || s.Segments > 8 || s.Oldest.IsZero() {
		t.Errorf("its size is reported as %+v", s)
	}
}

// shiftedClock follows time.Now with a wall clock that can be set.
type shiftedClock struct {
	monotime.Fake
	by *atomic.Int64
}

func (c shiftedClock) Wall() time.Time { return c.Fake.Wall().Add(time.Duration(c.by.Load())) }

func TestTheAgeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := historyDir(t)
		w, stop := start(t, history.WriterConfig{Dir: dir, Clock: monotime.Fake{}, SegmentBytes: 4 << 10})
		for day := range 30 {
			for i := range 24 {
				w.Append(kindNote, time.Now(), note{N: day*24 + i, Text: strings.Repeat("x", 200)})
				time.Sleep(time.Hour)
			}
		}
		synctest.Wait()
		got := numbers(t, dir, history.Query{})
		if len(got) < 14*24 || len(got) > 16*24 || got[len(got)-1] != 719 {
			t.Errorf("after 30 days it keeps %d hours, from %d", len(got), got[0])
		}
		time.Sleep(15 * 24 * time.Hour)
		synctest.Wait()
		if names := segments(t, dir); names != nil {
			t.Errorf("after 15 days without a line it keeps %v", names)
		}
		w.Append(kindNote, time.Now(), note{N: 720})
		stop()
		wantNumbers(t, dir, history.Query{}, 720, 721)
	})
}

func TestAClockThatIsWrongForAMomentRemovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := historyDir(t)
		var shift atomic.Int64
		clock := shiftedClock{by: &shift}
		w, stop := start(t, history.WriterConfig{Dir: dir, Clock: clock})
		w.Append(kindNote, clock.Wall(), note{N: 0})
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		shift.Store(int64(10 * 365 * 24 * time.Hour))
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		shift.Store(0)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		wantNumbers(t, dir, history.Query{}, 0, 1)
		stop()
	})
}

func TestTwoReapersNeverWriteTheSameSegment(t *testing.T) {
	dir, clock := historyDir(t), newClock()
	write(t, history.WriterConfig{Dir: dir, Clock: clock, Run: "first"}, notes(clock, 0, 1))
	a, stopA := start(t, history.WriterConfig{Dir: dir, Clock: clock, Run: "a", SegmentBytes: 2 << 10})
	b, stopB := start(t, history.WriterConfig{Dir: dir, Clock: clock, Run: "b", SegmentBytes: 2 << 10})
	for i := range 100 {
		a.Append(kindNote, clock.Wall(), note{N: i})
		b.Append(kindNote, clock.Wall(), note{N: i})
		if i%5 == 0 { // in small batches, alternating
			awaitWritten(t, a, uint64(i))
			awaitWritten(t, b, uint64(i))
		}
	}
	stopA()
	stopB()
	count := make(map[string]int)
	r := reader(t, dir)
	for line := range r.Forward(history.Query{}) {
		count[line.Run]++
	}
	if count["a"] != 100 || count["b"] != 100 || r.Skipped() != 0 {
		t.Errorf("of each 100 lines %v are read, %d skipped", count, r.Skipped())
	}
	for _, name := range segments(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(`"run":"a"`)) && bytes.Contains(data, []byte(`"run":"b"`)) {
			t.Errorf("%s has lines of both", name)
		}
	}
}
