// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package descriptors_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/writelog"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/descriptors"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

// processes has the sockets that each process holds, by PID. The tests of package reaper have real ones.
type processes struct {
	mu     sync.Mutex
	held   map[int]map[uint32]bool
	denied map[int]bool
	files  map[int]owners.OpenFiles
	checks []int // the PIDs, in the order of their checks
}

func (p *processes) Holding(_ context.Context, pid int, sockets map[uint32]owners.Place) (map[uint32]owners.Place, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checks = append(p.checks, pid)
	if p.denied[pid] {
		return nil, unix.EACCES
	}
	found := make(map[uint32]owners.Place)
	for inode := range sockets {
		if p.held[pid][inode] {
			found[inode] = owners.Place{TID: pid, FD: int(inode)}
		}
	}
	return found, nil
}

func (p *processes) StartTime(pid int) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[pid] == nil {
		return 0, unix.ENOENT
	}
	return uint64(1000 + pid), nil
}

func (p *processes) OpenFiles(_ context.Context, pid int) (owners.OpenFiles, error) {
	f, ok := p.files[pid]
	if !ok {
		return f, unix.ENOENT
	}
	return f, nil
}

func (p *processes) close(pid int, inodes ...uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range inodes {
		delete(p.held[pid], i)
	}
}

func (p *processes) exit(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, pid)
}

// hold returns a process that holds n sockets, with inode numbers from first on.
func hold(first, n uint32) map[uint32]bool {
	held := make(map[uint32]bool)
	for i := range n {
		held[first+i] = true
	}
	return held
}

// java returns an owner.
func java(pid int) owners.Process { return owners.Process{PID: pid, Command: "java"} }

// run runs a tracker until stop is called.
func run(t *testing.T, c descriptors.Config, suspects ...descriptors.Suspect) (tracker *descriptors.Tracker, stop func()) {
	t.Helper()
	c.Clock, c.Budget = monotime.Fake{}, 1
	tracker = descriptors.New(c)
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { tracker.Run(ctx, func(context.Context) []descriptors.Suspect { return suspects }) })
	stop = sync.OnceFunc(func() { cancel(); ended.Wait() })
	t.Cleanup(stop)
	synctest.Wait()
	return tracker, stop
}

func ended(tracker *descriptors.Tracker, first, n uint32, list ...owners.Process) {
	for i := range n {
		tracker.Ended(descriptors.Socket{
			Inode: first + i, Ended: monotime.Fake{}.Now(), Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Owners: list,
		})
	}
}

// numbers are the numbers of a view, without its lists.
type numbers struct {
	Held, Tracked     int
	Closed, Untracked uint64
}

func expect(t *testing.T, tracker *descriptors.Tracker, want numbers) {
	t.Helper()
	synctest.Wait()
	v := tracker.View()
	if diff := cmp.Diff(want, numbers{v.Held, v.Tracked, v.Closed, v.Untracked}); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestASocketIsHeldUntilItsLastOwnerClosesIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &processes{held: map[int]map[uint32]bool{812: hold(1, 48), 813: hold(48, 1), 900: {}}}
		tracker, _ := run(t, descriptors.Config{Processes: p})
		began := time.Now()
		ended(tracker, 1, 48, java(812), java(813))
		ended(tracker, 49, 2, java(812))
		ended(tracker, 51, 1, java(900))
		ended(tracker, 52, 1)
		expect(t, tracker, numbers{}) // the owners have a second
		time.Sleep(5 * time.Second)
		expect(t, tracker, numbers{Held: 48, Tracked: 48, Closed: 3, Untracked: 1})
		pod := state.Pod{Namespace: "shop", Name: "web-1"}
		want := []api.DescriptorHolder{
			{Process: java(812), Pod: pod, Held: 48, Ended: 50, Since: began}, {Process: java(813), Pod: pod, Held: 1, Ended: 48, Since: began},
		}
		if diff := cmp.Diff(want, tracker.View().Holders); diff != "" {
			t.Errorf("holders (-want +got)\n%s", diff)
		}
		p.exit(812)
		time.Sleep(2 * time.Minute)
		expect(t, tracker, numbers{Held: 1, Tracked: 1, Closed: 50, Untracked: 1})
		p.close(813, 48)
		time.Sleep(2 * time.Minute)
		expect(t, tracker, numbers{Closed: 51, Untracked: 1})
	})
}

func TestChecksBecomeRarerAndStopWhenNothingIsHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &processes{held: map[int]map[uint32]bool{7: hold(1, 1)}}
		tracker, _ := run(t, descriptors.Config{Processes: p})
		ended(tracker, 1, 1, java(7))
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(p.checks); n < 60 || n > 70 {
			t.Errorf("%d checks within an hour, want about one per minute", n)
		}
		p.close(7, 1)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		before := len(p.checks)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(p.checks) - before; n > 1 {
			t.Errorf("%d checks of a process that holds nothing", n)
		}
	})
}

func TestTooManySocketsAreCountedAndLeaveRoomForOtherProcesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = 100
		p := &processes{held: map[int]map[uint32]bool{7: hold(1, 1000), 8: hold(5000, 10)}}
		tracker, _ := run(t, descriptors.Config{Processes: p, MaxSockets: most})
		ended(tracker, 1, most+50, java(7)) // the mailbox is bounded too
		time.Sleep(5 * time.Second)
		expect(t, tracker, numbers{Held: most, Tracked: most, Untracked: 50})
		ended(tracker, 200, 20, java(7))
		time.Sleep(5 * time.Second)
		expect(t, tracker, numbers{Held: most, Tracked: most, Untracked: 70})
		ended(tracker, 5000, 10, java(8))
		time.Sleep(5 * time.Second)
		v := tracker.View()
		if v.Held > most || v.Untracked < 80 || len(v.Holders) != 2 || v.Holders[1].Held != 10 {
			t.Errorf("%+v", v)
		}
	})
}

func TestAProcessThatMayNotBeReadIsNotCountedAsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &processes{held: map[int]map[uint32]bool{7: hold(1, 2)}, denied: map[int]bool{7: true}}
		tracker, _ := run(t, descriptors.Config{Processes: p})
		ended(tracker, 1, 2, java(7))
		time.Sleep(5 * time.Second)
		expect(t, tracker, numbers{Untracked: 2})
	})
}

func TestProcessesNearTheirFileLimitAreListedTheNearestFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &processes{
			held:  map[int]map[uint32]bool{7: hold(1, 1)},
			files: map[int]owners.OpenFiles{7: {Open: 820, Limit: 1024}, 8: {Open: 1000, Limit: 1024}, 9: {Open: 819, Limit: 1024}, 10: {Open: 5, Limit: 0}},
		}
		suspect := func(pid int) descriptors.Suspect { return descriptors.Suspect{Process: java(pid)} }
		tracker, _ := run(t, descriptors.Config{Processes: p}, suspect(8), suspect(9), suspect(10), suspect(11))
		ended(tracker, 1, 1, java(7))
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		want := []api.FileUse{
			{Process: java(8), Open: 1000, Limit: 1024}, {Process: java(7), Pod: state.Pod{Namespace: "shop", Name: "web-1"}, Open: 820, Limit: 1024},
		}
		if diff := cmp.Diff(want, tracker.View().NearLimit); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestTheNextTrackerContinues(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "descriptors")
	synctest.Test(t, func(t *testing.T) {
		p := &processes{held: map[int]map[uint32]bool{7: hold(1, 3), 8: hold(2, 1), 9: hold(10, 1)}}
		c := descriptors.Config{Processes: p, Path: path, Boot: "this"}
		first, stop := run(t, c)
		ended(first, 1, 3, java(7), java(8))
		ended(first, 10, 1, java(9))
		time.Sleep(5 * time.Second)
		expect(t, first, numbers{Held: 4, Tracked: 4})
		stop()
		p.exit(9) // unseen
		next, stop := run(t, c)
		time.Sleep(5 * time.Second)
		expect(t, next, numbers{Held: 3, Tracked: 3, Closed: 1})
		if h := next.View().Holders; len(h) != 2 || h[0].PID != 7 || h[0].Ended != 3 || h[0].Pod.Name != "web-1" || h[1].Held != 1 {
			t.Errorf("holders %+v", h)
		}
		stop()
		c.Boot = "another"
		other, _ := run(t, c)
		time.Sleep(5 * time.Second)
		expect(t, other, numbers{})
	})
}

func TestADamagedFileIsReportedAndReplaced(t *testing.T) {
	t.Parallel()
	for _, damage := range []string{"", "{", `{"version":2}`, "null", strings.Repeat("[", 1<<16)} {
		path := filepath.Join(t.TempDir(), "descriptors")
		if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			p := &processes{held: map[int]map[uint32]bool{7: hold(1, 1)}}
			c := descriptors.Config{Processes: p, Path: path, Boot: "this", Log: slog.New(slog.NewTextHandler(&log, nil))}
			tracker, stop := run(t, c)
			ended(tracker, 1, 1, java(7))
			time.Sleep(5 * time.Second)
			expect(t, tracker, numbers{Held: 1, Tracked: 1})
			stop()
			if !strings.Contains(log.String(), "cannot read which descriptors") {
				t.Errorf("%.20q: the log is %q", damage, &log)
			}
			next, _ := run(t, c)
			time.Sleep(5 * time.Second)
			expect(t, next, numbers{Held: 1, Tracked: 1})
		})
	}
}

func TestAFileThatCannotBeWrittenIsReported(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "absent", "descriptors")
	synctest.Test(t, func(t *testing.T) {
		var writes writelog.Log
		p := &processes{held: map[int]map[uint32]bool{7: hold(1, 1)}}
		tracker, _ := run(t, descriptors.Config{Processes: p, Path: path, Writes: &writes})
		ended(tracker, 1, 1, java(7))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if f := writes.Failures(); len(f) != 1 || f[0].Name != api.UnwritableDescriptors || f[0].Path != path {
			t.Errorf("failures %+v", f)
		}
		expect(t, tracker, numbers{Held: 1, Tracked: 1})
	})
}

// FuzzDamagedSaves reads any file, watches a socket, and saves.
func FuzzDamagedSaves(f *testing.F) {
	f.Add([]byte(`{"version":1,"boot":"this","processes":[{"pid":7,"started":1007,"command":"java","pod":{},"ended":1,"sockets":{"1":5}}]}`))
	f.Add([]byte(`{"version":1,"boot":"this","processes":[{"pid":7,"started":1,"sockets":{"0":5,"1":-1}},{"pid":7},{"pid":-1,"started":1,"sockets":{"3":1}}]}`))
	f.Add([]byte(`{"version":1,"boot":"other"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "descriptors")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			p := &processes{held: map[int]map[uint32]bool{7: hold(1, 1)}}
			tracker, stop := run(t, descriptors.Config{Processes: p, Path: path, Boot: "this", MaxSockets: 10})
			ended(tracker, 1, 1, java(7))
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if v := tracker.View(); v.Held != 1 || v.Tracked > 10 {
				t.Errorf("%+v", v)
			}
			stop()
		})
	})
}

// TestTheCountsAgreeWithAModel ends sockets of random processes, which close and exit at random.
func TestTheCountsAgreeWithAModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				p := &processes{held: make(map[int]map[uint32]bool)}
				tracker, _ := run(t, descriptors.Config{Processes: p})
				inode, total := uint32(1), 0
				for range 200 {
					pid := 1 + rnd.IntN(5)
					p.mu.Lock()
					if p.held[pid] == nil {
						p.held[pid] = make(map[uint32]bool)
					}
					switch held := p.held[pid]; rnd.IntN(4) {
					case 0:
						for i := range maps.Keys(held) {
							delete(held, i)
							break
						}
					case 1:
						if rnd.IntN(10) == 0 {
							delete(p.held, pid)
						}
					default:
						list := []owners.Process{java(pid)}
						held[inode] = true
						if other := 1 + rnd.IntN(5); other != pid && p.held[other] != nil {
							p.held[other][inode] = true
							list = append(list, java(other))
						}
						p.mu.Unlock()
						ended(tracker, inode, 1, list...)
						p.mu.Lock()
						inode++
						total++
					}
					p.mu.Unlock()
					time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
				}
				time.Sleep(5 * time.Minute)
				all := make(map[uint32]bool)
				for _, held := range p.held {
					maps.Copy(all, held)
				}
				expect(t, tracker, numbers{Held: len(all), Tracked: len(all), Closed: uint64(total - len(all))})
			})
		})
	}
}
