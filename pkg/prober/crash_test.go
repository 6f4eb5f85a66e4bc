// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/prober"
)

// order is the task of a prober process.
type order struct {
	Dir   string
	Netns finder.Netns
	Owner int
	FD    int  // of the owner, 0 if unknown
	One   bool // the process prints the answer to one question
	Until bool // it asks until no peer is alive, and then prints the number of questions for each result
}

func (o order) encode(tb testing.TB) []byte {
	tb.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// proberMain asks about all sockets in CLOSE_WAIT of a network namespace, and prints a line once the questions are out.
func proberMain() error {
	var o order
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &o)
	}
	if err != nil {
		return err
	}
	root, err := netns.NewRoot("")
	if err != nil {
		return err
	}
	clock, err := monotime.System()
	if err != nil {
		return err
	}
	opener := finder.Opener{Root: root}
	answered := make(chan prober.Answer, 1000)
	p, err := prober.New(prober.Config{
		Dir: o.Dir, Opener: opener, Clock: clock, Budget: 10, MaxPerSecond: 100_000,
		Answered: func(all []prober.Answer) {
			for _, a := range all {
				answered <- a
			}
		},
	})
	if err != nil {
		return err
	}
	c, err := opener.Open(o.Netns)
	if err != nil {
		return err
	}
	var all []prober.Question
	err = c.Dump(inetdiag.Filter{States: inetdiag.HalfClosed}, func(s *inetdiag.Socket) error {
		if s.State == inetdiag.CloseWait && s.Inode != 0 {
			all = append(all, prober.Question{
				Netns: o.Netns, ID: s.ID, State: s.State, Inode: s.Inode, Owners: []prober.Owner{{PID: o.Owner, FD: o.FD, HasFD: o.FD != 0}},
				Count: 6, Interval: 10 * time.Second, ProbeAfter: time.Second, Tag: uint64(len(all)),
			})
		}
		return nil
	})
	c.Close()
	if err != nil {
		return err
	}
	go func() { _ = p.Run(context.Background()) }()
	p.Ask(all)
	if o.One {
		a, name := <-answered, ""
		if errno, ok := errors.AsType[unix.Errno](a.Err); ok {
			name = unix.ErrnoName(errno)
		}
		fmt.Println(inWords(a.Result, a.Obstacle, name))
		return nil
	}
	if o.Until {
		fmt.Println(askUntilAllEnd(p, all, answered))
		return nil
	}
	for p.Stats().Armed < len(all) {
		time.Sleep(5 * time.Millisecond)
	}
	fmt.Println(len(all))
	_, err = io.Copy(io.Discard, in) // until it is killed, or the test's process has ended
	return err
}

func TestNextProberRestoresTheSocketsOfAKilledOne(t *testing.T) {
	t.Parallel()
	const n = 200
	s := newScene(t)
	pairs := make([]nstest.Pair, n)
	for i := range pairs {
		pairs[i] = s.connect()
	}
	all := s.give("owner", pairs...)
	for _, j := range all {
		if err := j.peer.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	all[n-1].idle(inetdiag.CloseWait)
	s.far.SetLink(t, nstest.LinkName, false)
	dir := t.TempDir()
	killed := start(t, nil, play("prober"))
	if got := killed.request("%s", order{Dir: dir, Netns: s.netns, Owner: all[0].owner.PID}.encode(t)); got != fmt.Sprint(n) {
		t.Fatalf("%s questions are out, want %d", got, n)
	}
	killed.kill()
	owner := all[0].owner
	for _, j := range all {
		if got := owner.request("options %d", j.fd); got == untouched {
			t.Fatal("a socket was not armed")
		}
	}
	// Then the owner closes one socket, moves one to another process, and sets options of one.
	for _, line := range []string{"close 3", "dup 4 900", "close 4", "set 5 6 40"} {
		if got := owner.request("%s", line); got != "ok" {
			t.Fatalf("%s: %s", line, got)
		}
	}
	all[1].fd = 900
	all[4].destroy() // it has ended, but its owner may connect it again
	next := newAsker(t, dir)
	next.run()
	next.clean()
	all[1].wantOptions(untouched)
	all[2].wantOptions("1 7200 75 40 0") // the owner has set TCP_KEEPCNT, so it may have set keepalive too
	for _, j := range all[3:] {
		j.wantOptions(untouched)
	}
	if got := next.Stats(); got.Restored != n-1 || got.Earlier != n-1 || got.Unreadable != 0 {
		t.Errorf("restored %d, of them %d of an earlier prober, %d records unreadable", got.Restored, got.Earlier, got.Unreadable)
	}
}

func TestUnreadableRecordIsCountedAndRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "1-1-1.armed"), []byte("halfclose asked 1\nrubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".1-1-2.armed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := newAsker(t, dir)
	a.run()
	a.clean()
	if got := a.Stats().Unreadable; got != 1 {
		t.Errorf("%d records are unreadable, want 1", got)
	}
}
