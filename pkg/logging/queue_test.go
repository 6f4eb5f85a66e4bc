// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/logging"
)

// stuckPipe returns a pipe that is not read, like the stderr of a process whose log collector hangs. A write to it blocks a
// thread, because it is not non-blocking.
func stuckPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "read end"), os.NewFile(uintptr(fds[1]), "write end")
	t.Cleanup(func() {
		r.Close() // a write that blocks returns an error
		w.Close()
	})
	if _, err := unix.FcntlInt(r.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()); err != nil {
		t.Fatal(err)
	}
	return r, w
}

// closeAll closes a log that is being read: each Close waits for flushTime only.
func closeAll(c io.Closer) (err error) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if err = c.Close(); err == nil {
			return nil
		}
	}
	return err
}

func TestAStuckStderrBlocksNeitherTheLoggerNorClose(t *testing.T) {
	_, w := stuckPipe(t)
	log, closer, err := logging.New(logging.Options{Stderr: w})
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 { // more than pipe and queue take
		log.Info("destroyed")
	}
	if err := closer.Close(); err == nil || !strings.Contains(err.Error(), "write the last log lines") {
		t.Errorf("got %v", err)
	}
	log.Info("too late")
	if err := closer.Close(); err == nil {
		t.Error("the second Close returns no error")
	}
}

func TestLongLinesUseNoMoreMemoryThanManyShortOnes(t *testing.T) {
	r, w := stuckPipe(t)
	log, closer, err := logging.New(logging.Options{Stderr: w})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		log.Info(strings.Repeat("x", 100<<10)) // 10 MiB, less than the queue takes in lines
	}
	closed := make(chan error)
	go func() { closed <- errors.Join(closeAll(closer), w.Close()) }()
	n := 0
	for s := bufio.NewReader(r); ; {
		line, err := s.ReadString('\n')
		n += len(line)
		if err != nil {
			break
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if n == 0 || n > 2<<20 {
		t.Errorf("%d bytes were kept", n)
	}
}

func TestTheNextLineHasTheNumberOfDroppedLines(t *testing.T) {
	for _, tt := range []struct {
		format string
		lost   func(line string) (int, error) // the number of lines lost before it
	}{
		{logging.Text, func(line string) (int, error) {
			_, n, found := strings.Cut(line, " lost_lines=")
			if !found {
				return 0, nil
			}
			return strconv.Atoi(n)
		}},
		{logging.JSON, func(line string) (int, error) {
			var v struct {
				Lost int            `json:"lost_lines"`
				Pod  map[string]any `json:"pod"`
			}
			err := json.Unmarshal([]byte(line), &v)
			if err == nil && v.Pod["n"] == nil {
				err = errors.New("an attribute is gone")
			}
			return v.Lost, err
		}},
	} {
		t.Run(tt.format, func(t *testing.T) {
			r, w := stuckPipe(t)
			log, closer, err := logging.New(logging.Options{Stderr: w, Format: tt.format})
			if err != nil {
				t.Fatal(err)
			}
			log = log.WithGroup("pod")
			const stuck = 3000
			for n := range stuck {
				log.Info("destroyed", "n", n)
			}
			lines := bufio.NewScanner(r)
			written, lost := 0, 0
			read := func() bool {
				if !lines.Scan() {
					return false
				}
				n, err := tt.lost(lines.Text())
				if err != nil {
					t.Fatalf("%q: %v", lines.Text(), err)
				}
				written, lost = written+1, lost+n
				return true
			}
			for range 100 { // makes room
				read()
			}
			if lost != 0 {
				t.Errorf("%d lines are counted as lost before the lines in the queue", lost)
			}
			log.Info("destroyed", "n", stuck)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for read() {
				}
			}()
			if err := errors.Join(closeAll(closer), w.Close()); err != nil {
				t.Error(err)
			}
			<-done
			if lost == 0 || written+lost != stuck+1 {
				t.Errorf("%d lines written, %d lost, of %d", written, lost, stuck+1)
			}
		})
	}
}

// refusing fails its first writes, as a full disk does.
type refusing struct {
	bytes.Buffer
	times int
}

func (r *refusing) Write(p []byte) (int, error) {
	if r.times > 0 {
		r.times--
		return 0, unix.ENOSPC
	}
	return r.Buffer.Write(p)
}

func TestLinesThatCannotBeWrittenAreCounted(t *testing.T) {
	w := &refusing{times: 2}
	log, closer, err := logging.New(logging.Options{Stderr: w})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		log.Info("x", "n", n)
	}
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
	if got := w.String(); !strings.Contains(got, "n=2 lost_lines=2\n") || !strings.HasSuffix(got, "n=3\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("got %q", got)
	}
}

func TestCloseLosesNoLine(t *testing.T) {
	var want strings.Builder
	r, w := stuckPipe(t)
	log, closer, err := logging.New(logging.Options{Stderr: w, Level: slog.LevelInfo})
	if err != nil {
		t.Fatal(err)
	}
	const lines = 500 // more than the pipe takes
	for n := range lines {
		log.Info("x", "n", n)
		fmt.Fprintf(&want, "n=%d\n", n)
	}
	var got strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(r); s.Scan(); {
			_, n, _ := strings.Cut(s.Text(), " n=")
			fmt.Fprintf(&got, "n=%s\n", n)
		}
	}()
	if err := errors.Join(closeAll(closer), w.Close()); err != nil {
		t.Error(err)
	}
	<-done
	if got.String() != want.String() {
		t.Errorf("got\n%s", got.String())
	}
}
