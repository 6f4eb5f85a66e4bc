// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
)

// handClock is a clock that a test moves.
type handClock struct{ now monotime.Time }

func (c *handClock) Now() monotime.Time { return c.now }
func (*handClock) Wall() time.Time      { return time.Unix(0, 0) }

// handLoop is a loop that a test drives. Its questions are about a deleted network namespace.
func handLoop(t *testing.T, c Config) (*loop, *handClock) {
	t.Helper()
	root, err := netns.NewRoot("")
	if err != nil {
		t.Fatal(err)
	}
	clock := &handClock{monotime.Time(24 * time.Hour)}
	c.Dir, c.Clock, c.Opener = t.TempDir(), clock, finder.Opener{Root: root}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	l := newLoop(t.Context(), p)
	t.Cleanup(func() { close(l.stopped) })
	return l, clock
}

func someQuestion(cookie uint64) message {
	id := inetdiag.NewID(unix.AF_INET, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"), 0, cookie)
	return message{question: &Question{
		Netns: finder.Netns{Identity: netns.Identity{Cookie: 1, Dev: 1, Inode: 1}, Paths: []string{"/nonexistent/netns"}},
		ID:    id, State: inetdiag.CloseWait, Inode: 1, Owners: []Owner{{PID: 1}}, Count: 3, Interval: time.Second,
	}}
}

// finishAll handles the results of the running jobs.
func (l *loop) finishAll() {
	for len(l.jobs) > 0 {
		l.finish(<-l.finished)
	}
}

func TestQuestionsStayWithinTheRateLimit(t *testing.T) {
	t.Parallel()
	l, clock := handLoop(t, Config{MaxPerSecond: 10})
	for cookie := range uint64(5) {
		l.receive(someQuestion(cookie + 1))
	}
	for asked := 1; asked <= 5; asked++ {
		l.dispatch()
		l.finishAll()
		if got := len(l.answers); got != asked {
			t.Fatalf("%d peers were asked, want %d", got, asked)
		}
		if wait := l.dispatch(); asked < 5 && wait > 100*time.Millisecond {
			t.Errorf("the next is asked after %v", wait)
		}
		clock.now = clock.now.Add(100 * time.Millisecond)
	}
}

func TestNamespaceWithALargeLeakDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	l, clock := handLoop(t, Config{MaxPerSecond: 10})
	for cookie := range uint64(1000) {
		l.receive(someQuestion(cookie + 1))
	}
	other := someQuestion(1)
	other.question.Netns.Identity.Cookie = 2
	l.receive(other)
	for range 2 {
		l.dispatch()
		l.finishAll()
		clock.now = clock.now.Add(100 * time.Millisecond)
	}
	if len(l.answers) != 2 || l.answers[1].Question != other.question {
		t.Errorf("%d peers were asked, the other namespace's is not the second", len(l.answers))
	}
}

// A lookup found that a socket is gone, or that its next probe is near: the prober makes no duplicate for a while,
// whatever event follows.
func TestPostponedQuestionKeepsItsDueTime(t *testing.T) {
	t.Parallel()
	l, clock := handLoop(t, Config{})
	l.receive(someQuestion(1))
	a := l.asked[subject{netns.Identity{Cookie: 1, Dev: 1, Inode: 1}, 1}]
	_, _ = l.queue.Pop(1)
	l.queued--
	l.finishLookup(&item{asking: a, done: true, postponed: true, gone: true}, clock.now)
	l.withdraw(a, clock.now)
	if d, ok := l.dispatch(), len(l.jobs) == 0; !ok || d > quietTime {
		t.Errorf("%d jobs run, and the next starts after %v", len(l.jobs), d)
	}
	clock.now = clock.now.Add(quietTime)
	l.dispatch()
	l.finishAll()
	if len(l.answers) != 1 || l.answers[0].Result != Closed {
		t.Errorf("once its owner had time to close it the answers are %v", l.answers)
	}
}

func TestNoPeerIsAskedWhileTheBudgetIsSpent(t *testing.T) {
	t.Parallel()
	l, clock := handLoop(t, Config{Budget: 0.02})
	l.pacer.Spend(clock.now, 220*time.Millisecond) // after 200 ms 20 ms are still owed
	l.receive(someQuestion(1))
	if wait := l.dispatch(); len(l.jobs) != 0 || wait < 900*time.Millisecond || wait > 1100*time.Millisecond {
		t.Errorf("in debt %d jobs run, and the next starts after %v", len(l.jobs), wait)
	}
	clock.now = clock.now.Add(1100 * time.Millisecond)
	l.dispatch()
	l.finishAll()
	if len(l.answers) != 1 || l.answers[0].Result != Closed {
		t.Errorf("out of debt the answers are %v", l.answers)
	}
}

func TestQueuedQuestionIsWithdrawn(t *testing.T) {
	t.Parallel()
	l, clock := handLoop(t, Config{MaxPerSecond: 10})
	first, second := someQuestion(1), someQuestion(2)
	l.receive(first)
	l.receive(second)
	l.receive(message{cancel: subject{first.question.Netns.Identity, 1}})
	l.receive(message{cancel: subject{first.question.Netns.Identity, 1}}) // of a question that no longer exists
	l.receive(first)                                                      // asked again
	if len(l.answers) != 1 || l.answers[0].Result != Cancelled || l.queued != 2 {
		t.Fatalf("%v, %d wait", l.answers, l.queued)
	}
	for range 2 {
		clock.now = clock.now.Add(time.Second)
		l.dispatch()
		l.finishAll()
	}
	if len(l.answers) != 3 || l.answers[1].Question != second.question || l.answers[2].Question != first.question || l.queued != 0 {
		t.Errorf("the answers are %v, %d wait", l.answers, l.queued)
	}
}

func TestSocketIsSearchedForUntilItIsClosed(t *testing.T) {
	t.Parallel()
	l, clock := handLoop(t, Config{})
	for name, x := range map[string]struct {
		ended, refused bool
		searches       int
	}{
		"it exists": {false, false, 5}, "it has ended": {true, false, 1},
		"it has ended, and the kernel refuses to restore it": {true, true, 5},
	} {
		b := &batch{record: "record"}
		h := l.addArmed(someArmed()[0], b)
		h.ended, h.refused = x.ended, x.refused
		l.release(h, false, clock.now)
		searches := 0
		for len(l.armedSockets) > 0 {
			searches++
			h.searches++ // found nowhere
			l.release(h, false, clock.now)
		}
		if searches != x.searches || b.left != 0 || len(l.missing) != 0 {
			t.Errorf("%s: %d searches, want %d; %d left, %d missing", name, searches, x.searches, b.left, len(l.missing))
		}
	}
	if l.stats.Lost != 2 || l.stats.Restored != 0 || len(l.obsolete) != 1 { // of lost sockets the record stays
		t.Errorf("%d lost, %d restored, the records %v are removed", l.stats.Lost, l.stats.Restored, l.obsolete)
	}
}

// TestOnlyARefusedDuplicateIsTriedAgain has attempts to restore a socket that has ended.
func TestOnlyARefusedDuplicateIsTriedAgain(t *testing.T) {
	t.Parallel()
	l, _ := handLoop(t, Config{})
	for err, want := range map[error]bool{errNoDescriptor: false, refused("pidfd_getfd", unix.EMFILE): true} {
		i := &item{armed: someArmed()[0], isArmed: true}
		(&job{env: &l.p.env}).put(i, -1, err)
		if i.isRefused() != want || !i.isArmed {
			t.Errorf("after %v it is tried again: %t", err, i.isRefused())
		}
	}
}

// TestASocketWithoutAPathToItsNamespaceIsStillRestored has a record whose path did not fit into it, and a descriptor that is gone.
func TestASocketWithoutAPathToItsNamespaceIsStillRestored(t *testing.T) {
	t.Parallel()
	l, _ := handLoop(t, Config{})
	i := &item{armed: someArmed()[0], isArmed: true}
	i.armed.netns.Paths, i.armed.table = nil, table{pid: os.Getpid()}
	newRestoring(&l.p.env, []*item{i}).run()
	if !i.done || i.postponed || !errors.Is(i.err, errNoDescriptor) {
		t.Errorf("it is done: %t, postponed: %t, %v", i.done, i.postponed, i.err)
	}
}

// TestASocketThatIsTooIdleForAKeepaliveTimeIsNotAsked would be armed too late again and again.
func TestASocketThatIsTooIdleForAKeepaliveTimeIsNotAsked(t *testing.T) {
	t.Parallel()
	l, clock := handLoop(t, Config{})
	for idle, isAsked := range map[time.Duration]bool{9 * time.Hour: true, maxKeepSeconds * time.Second: false, 100 * time.Hour: false} {
		i := &item{asking: &asking{question: someQuestion(1).question}, idle: idle, at: clock.now, armed: someArmed()[0]}
		(&job{env: &l.p.env, items: []*item{i}}).write()
		if isAsked != !i.done || !isAsked && (i.result != NotAsked || !errors.Is(i.err, ErrTooIdle)) || isAsked && !clock.now.Before(i.until) {
			t.Errorf("idle for %v: done %t, %v, %v, until %v", idle, i.done, i.result, i.err, i.until.Sub(clock.now))
		}
	}
}

func TestDescriptorTableIsScannedOncePerBatch(t *testing.T) {
	t.Parallel()
	l, _ := handLoop(t, Config{})
	var items []*item
	for cookie := range uint64(50) {
		q := someQuestion(cookie + 1).question
		q.Owners = []Owner{{PID: 1}, {PID: 2}, {PID: 2, TID: 3}, {PID: 4, FD: 3, HasFD: true}}
		items = append(items, &item{asking: &asking{question: q}})
	}
	j := &job{env: &l.p.env, items: items}
	j.scans()
	if len(j.steps) != 3 {
		t.Errorf("%d descriptor tables are read, want those of two processes and a thread", len(j.steps))
	}
}

// TestRefusedRestorationIsTriedAgain restores through a descriptor that is no socket, of which the kernel refuses every option.
func TestRefusedRestorationIsTriedAgain(t *testing.T) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	syscall.ForkLock.RLock() // as a duplicate does, until it is closed
	i := &item{isArmed: true}
	(&job{env: &environment{}}).put(i, fd, nil)
	if i.refused == nil || !i.isArmed {
		t.Errorf("refused: %v; it counts as restored: %v", i.refused, !i.isArmed)
	}
}
