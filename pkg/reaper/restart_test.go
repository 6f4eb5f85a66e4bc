// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper_test

import (
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// aging makes a socket in CLOSE_WAIT whose owner sends a keepalive each second.
func aging(t *testing.T, ns *nstest.NS) (p nstest.Pair, cookie uint64) {
	t.Helper()
	p = ns.Connect(t, nstest.IPv4)
	keepalive(t, p.Server)
	shut(t, p)
	return p, cookieOf(t, p.Server)
}

// awaitConfirmed waits until the reaper has looked at a socket, whatever was saved of it, and returns since
// when it takes it to be half-closed.
func (n *node) awaitConfirmed(cookie uint64) (since span) {
	n.tb.Helper()
	nstest.Eventually(n.tb, patience, "the socket was looked at", func() bool {
		v, ok := n.byCookie(cookie)
		return ok && v.Verdict != policy.Unknown
	})
	since, ok := n.since(cookie)
	if !ok {
		n.tb.Fatal("the socket is not known any more")
	}
	return since
}

// provenOnly checks that a reaper knows no more of a socket's age than the kernel proves of it.
func provenOnly(t *testing.T, now, truth span) {
	t.Helper()
	if !now.from.After(truth.to) {
		t.Errorf("half-closed since %v, as before (%v): that cannot be known", now, truth)
	}
}

func TestACleanStopLosesNoAge(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := nstest.New(t)
		n := newNode(t, finder, attentive)
		n.register(ns, timing(inetdiag.CloseWait, time.Hour))
		quiet, still := aging(t, ns)
		busy, busyCookie := aging(t, ns)
		ended, endedCookie := aging(t, ns)
		n.awaitConfirmed(busyCookie)
		answers(t, busy)
		n.awaitVerdict(busy.Server, reaper.SocketQuery{}, policy.Progressing)
		unprovable(t, ns, quiet.Server, busy.Server)
		progress := n.moved(busyCookie)
		since, busySince := n.awaitAge(still, unproven), n.awaitAge(busyCookie, unproven)
		for range 2 {
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			ended.Server.Close()
			n.start(finder, attentive)
			if got := n.awaitConfirmed(still); !got.couldBe(since) {
				t.Errorf("half-closed since %v, %v before the restart", got, since)
			}
			if got := n.awaitConfirmed(busyCookie); !got.couldBe(busySince) {
				t.Errorf("one that made progress: half-closed since %v, %v before the restart", got, busySince)
			}
			if got := n.moved(busyCookie); !got.couldBe(progress) {
				t.Errorf("progress was at %v, %v before the restart", got, progress)
			}
			nstest.Eventually(t, patience, "what ended meanwhile is forgotten", func() bool {
				_, ok := n.byCookie(endedCookie)
				return !ok
			})
		}
	})
}

// moved returns when the reaper noticed that a socket last made progress.
func (n *node) moved(cookie uint64) span {
	n.tb.Helper()
	from := time.Now()
	v, ok := n.byCookie(cookie)
	if !ok || v.Idle == nil {
		n.tb.Fatal("the socket is not known")
	}
	idle := time.Duration(*v.Idle)
	return span{from.Add(-idle), time.Now().Add(-idle)}
}

func TestAGraceGoesOnAcrossARestart(t *testing.T) {
	const grace = 5 * time.Second
	eachFinder(t, func(t *testing.T, finder string) {
		ns := nstest.New(t)
		n := newNode(t, finder, attentive)
		n.register(ns, timing(inetdiag.CloseWait, grace))
		p, cookie := aging(t, ns)
		n.awaitAge(cookie, 0)
		unprovable(t, ns, p.Server)
		since := n.awaitAge(cookie, unproven)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n.start(finder, attentive)
		e := n.awaitDestroyed(p.Server)
		neverMoved(t, e, grace)
		if age, most := time.Duration(e.Age), time.Since(since.from); age > most {
			t.Errorf("destroyed at the age of %v, which began %v ago", age, most)
		}
	})
}

// TestACrashLosesWhatWasNotSaved takes away what a clean stop saves, and leaves what is saved every ten
// seconds.
func TestACrashLosesWhatWasNotSaved(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := nstest.New(t)
		n := newNode(t, finder, attentive)
		n.register(ns, timing(inetdiag.CloseWait, time.Hour))
		early, saved := aging(t, ns)
		n.awaitAge(saved, 0)
		unprovable(t, ns, early.Server)
		since := n.awaitAge(saved, unproven)
		var file []byte
		nstest.Eventually(t, patience, "the candidates are saved", func() (ok bool) {
			b, err := os.ReadFile(n.store.CandidatesPath())
			file = b
			return err == nil
		})
		after, late := aging(t, ns)
		n.awaitAge(late, 0)
		unprovable(t, ns, after.Server)
		lateSince := n.awaitAge(late, unproven)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(n.store.CandidatesPath(), file, 0o600); err != nil {
			t.Fatal(err)
		}
		n.start(finder, attentive)
		if got := n.awaitConfirmed(saved); !got.couldBe(since) {
			t.Errorf("half-closed since %v, %v before the crash", got, since)
		}
		provenOnly(t, n.awaitConfirmed(late), lateSince)
	})
}

// TestASavedHistoryOfAnotherConnectionIsNotBelieved makes another connection of a socket while no reaper runs.
func TestASavedHistoryOfAnotherConnectionIsNotBelieved(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		for name, bytes := range map[string]int{"with as many bytes": 10, "with fewer": 5} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ns := nstest.New(t)
				n := newNode(t, finder, attentive)
				n.register(ns, timing(inetdiag.CloseWait, time.Hour))
				l := ns.Listen(t, nstest.IPv4)
				s := newSocket(t, ns)
				s.halfClose(t, ns, l, inetdiag.CloseWait, 10)
				n.awaitAge(s.cookie, time.Second)
				if err := n.stop(); err != nil {
					t.Fatal(err)
				}
				stopped := time.Now()
				nstest.Eventually(t, patience, "the last look is not just now", func() bool { return time.Since(stopped) > 200*time.Millisecond })
				reconnected := time.Now().Add(-tick)
				s.disconnect(t)
				s.halfClose(t, ns, l, inetdiag.CloseWait, bytes)
				n.start(finder, attentive)
				if got := n.awaitConfirmed(s.cookie); got.to.Before(reconnected) {
					t.Errorf("half-closed since %v, but it was connected at %v", got, reconnected)
				}
			})
		}
	})
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// logTo has the reaper's log go to b as well.
func logTo(tb testing.TB, b *buffer) func(*reaper.Config) {
	return func(c *reaper.Config) { c.Log = slog.New(slog.NewTextHandler(io.MultiWriter(tb.Output(), b), nil)) }
}

// TestASavedFileThatIsWrongIsNotBelieved gives reapers the file that another one saved, changed.
func TestASavedFileThatIsWrongIsNotBelieved(t *testing.T) {
	eachFinder(t, func(t *testing.T, finder string) {
		ns := nstest.New(t)
		first := newNode(t, finder, attentive)
		first.register(ns, timing(inetdiag.CloseWait, time.Hour))
		p, cookie := aging(t, ns)
		first.awaitAge(cookie, 0)
		unprovable(t, ns, p.Server)
		truth := first.awaitAge(cookie, unproven)
		if err := first.stop(); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(first.store.CandidatesPath())
		if err != nil {
			t.Fatal(err)
		}
		put := func(b []byte, at int, when monotime.Time) []byte {
			for e := reaper.SavedHeader; e+reaper.SavedEntry < len(b); e += reaper.SavedEntry {
				binary.NativeEndian.PutUint64(b[e+at:], uint64(when))
			}
			return reaper.SealSaved(b)
		}
		const warning = "ages are what the kernel can prove"
		for name, tc := range map[string]struct {
			change func(b []byte) []byte // of a copy
			warns  bool
		}{
			"one of another boot":    {func(b []byte) []byte { b[reaper.SavedBootID] ^= 1; return reaper.SealSaved(b) }, false},
			"garbage":                {func([]byte) []byte { return []byte("hello") }, true},
			"an empty one":           {func([]byte) []byte { return nil }, true},
			"a truncated one":        {func(b []byte) []byte { return b[:len(b)-20] }, true},
			"one with a bit flipped": {func(b []byte) []byte { b[reaper.SavedHeader+reaper.SavedSince] ^= 1; return b }, true},
			"one with a look in the future": {func(b []byte) []byte {
				return put(b, reaper.SavedLast, monotime.Now().Add(time.Hour))
			}, true},
			"one with an age that never began": {func(b []byte) []byte { return put(b, reaper.SavedSince, 0) }, true},
			"one whose look was before the half-close": {func(b []byte) []byte {
				return put(b, reaper.SavedSince, monotime.Now())
			}, true},
			"none": {nil, false},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n := offNode(t)
				if tc.change != nil {
					if err := os.WriteFile(n.store.CandidatesPath(), tc.change(append([]byte(nil), file...)), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				var log buffer
				n.register(ns, timing(inetdiag.CloseWait, time.Hour))
				n.start(finder, attentive, logTo(t, &log))
				provenOnly(t, n.awaitConfirmed(cookie), truth)
				if got := strings.Count(log.String(), warning); got != map[bool]int{true: 1}[tc.warns] {
					t.Errorf("%d warnings, want %v:\n%s", got, tc.warns, log.String())
				}
			})
		}
		t.Run("but the file itself is", func(t *testing.T) {
			t.Parallel()
			n := offNode(t)
			if err := os.WriteFile(n.store.CandidatesPath(), file, 0o600); err != nil {
				t.Fatal(err)
			}
			n.register(ns, timing(inetdiag.CloseWait, time.Hour))
			n.start(finder, attentive)
			if got := n.awaitConfirmed(cookie); !got.couldBe(truth) {
				t.Errorf("half-closed since %v, %v before", got, truth)
			}
		})
	})
}
