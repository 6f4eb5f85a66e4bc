// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/history"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// The environment of a test process that writes until it is killed.
const (
	envDir  = "_HALFCLOSE_HISTORY_DIR"
	envFrom = "_HALFCLOSE_HISTORY_FROM"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envDir); dir != "" {
		from, err := strconv.Atoi(os.Getenv(envFrom))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
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
	os.Exit(nstest.Main(m))
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
