// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestAReaperKilledAtAnyMomentLosesNoRegistration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const rounds = 12
	var want []string
	for i := range rounds {
		p := w.start(t, "--log-level", "warn")
		killed := time.After(time.Duration(random.Int64N(int64(250 * time.Millisecond))))
		a := state.Attachment{ContainerID: fmt.Sprintf("round%02d", i), IfName: "eth0"}
		if r := run(t, w.plugin("ADD", a, c.path, pluginConf(external))); r.code != 0 {
			t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
		}
		want = append(want, a.ContainerID)
		<-killed
		p.Kill()
	}
	p := w.start(t)
	var got []string
	for _, a := range w.AwaitStatus().Attachments {
		if a.Inert != "" {
			t.Errorf("%s is inert: %s", a.ContainerID, a.Inert)
		}
		got = append(got, a.ContainerID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attachments (-want +got)\n%s", diff)
	}
	p.Stop()
}

// The owner of the leak sends a keepalive probe every second: because of the acknowledgements, the kernel proves only one
// second of its age. The rest is what the reaper has saved.
func TestAgesSurviveARestart(t *testing.T) {
	t.Parallel()
	t.Run("a clean stop loses nothing", func(t *testing.T) {
		t.Parallel()
		w, leak := agedWorld(t)
		p := w.start(t)
		nstest.Eventually(t, testnode.Patience, "the leak has an age", func() bool { return w.age(leak) > 3*time.Second })
		before := w.age(leak)
		p.Stop()
		p = w.start(t)
		if after := w.knownAge(t, leak); after < before {
			t.Errorf("the leak was %v old before, and is %v now", before, after)
		}
		// The age comes from the file of saved candidates.
		p.Stop()
		if err := os.Remove(w.Store.CandidatesPath()); err != nil {
			t.Fatal(err)
		}
		w.start(t)
		if after := w.knownAge(t, leak); after > before {
			t.Errorf("without the saved candidates the leak is still %v old: the test proves nothing", after)
		}
	})
	t.Run("a crash loses ten seconds at most", func(t *testing.T) {
		t.Parallel()
		w, leak := agedWorld(t)
		p := w.start(t)
		nstest.Eventually(t, testnode.Patience, "the leak has an age", func() bool { return w.age(leak) > 13*time.Second })
		before := w.age(leak)
		p.Kill()
		w.start(t)
		if after := w.knownAge(t, leak); after < before-10*time.Second {
			t.Errorf("the leak was %v old before, and is %v now", before, after)
		}
	})
}

// agedWorld returns a world with one observed attachment and a leak in it whose owner sends keepalive probes. The grace
// determines how often the reaper looks.
func agedWorld(t *testing.T) (*world, *net.TCPConn) {
	t.Helper()
	w := newWorld(t)
	c := newContainer(t, nil)
	if r := run(t, w.plugin("ADD", c.attachment(), c.path, pluginConf(external+`, "mode": "observe", "grace": "4s"`))); r.code != 0 {
		t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
	}
	conn := leak(t, c)
	keep := net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 100}
	if err := conn.SetKeepAliveConfig(keep); err != nil {
		t.Fatal(err)
	}
	return w, conn
}

// leak opens a connection with one end in CLOSE_WAIT, and returns that end.
func leak(t *testing.T, c *container) *net.TCPConn {
	t.Helper()
	p := c.Connect(t, nstest.IPv4)
	if err := p.Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return p.Server
}

// age returns the age of a socket in the reaper's answer, 0 if the reaper has not looked at the socket itself yet.
func (w *world) age(c *net.TCPConn) time.Duration {
	v, _, err := w.FindSocket(testnode.ConnOf(c), api.SocketQuery{})
	if err != nil || v.Verdict == policy.Unknown || v.Age == nil { // no reaper may be running
		return 0
	}
	return time.Duration(*v.Age)
}

// knownAge waits until the reaper knows a socket, and returns its age.
func (w *world) knownAge(t *testing.T, c *net.TCPConn) (age time.Duration) {
	t.Helper()
	nstest.Eventually(t, testnode.Patience, "the leak is known", func() bool {
		age = w.age(c)
		return age > 0
	})
	return age
}

// TestAReaperKilledInAStormFindsAllHalfClosedSocketsAfterItsRestart kills a reaper while connections are opened and closed.
func TestAReaperKilledInAStormFindsAllHalfClosedSocketsAfterItsRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := make([]*container, 4)
	namespaces := make([]*nstest.NS, len(all))
	for i := range all {
		all[i] = newContainer(t, nil)
		namespaces[i] = all[i].NS
		if r := run(t, w.plugin("ADD", all[i].attachment(), all[i].path, pluginConf(external+`, "mode": "observe", "grace": "8s"`))); r.code != 0 {
			t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
		}
	}
	p := w.start(t, "--cpu-budget", "100%")
	w.holds(t, p.PID())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { nstest.Storm{Keep: 10}.Run(t, stop, namespaces...) })
	for range 3 {
		time.Sleep(300 * time.Millisecond) // let the storm go on
		p.Kill()
		p = w.start(t, "--cpu-budget", "100%")
	}
	close(stop)
	wg.Wait()
	nstest.Eventually(t, testnode.Patience, "the reaper knows the half-closed sockets that the kernel has", func() bool {
		known, err := w.Client.Sockets(t.Context(), api.SocketQuery{})
		now, err2 := w.Client.Sockets(t.Context(), api.SocketQuery{All: true})
		there := halfClosed(now.Sockets)
		return err == nil && err2 == nil && len(there) > 0 && cmp.Equal(halfClosed(known.Sockets), there)
	})
	p.Stop()
}

// halfClosed returns the cookies of the half-closed sockets that have an owner.
func halfClosed(views []api.SocketView) map[uint64]bool {
	all := make(map[uint64]bool)
	for _, v := range views {
		if v.State.HalfClosed() && v.Inode != 0 {
			all[v.Cookie] = true
		}
	}
	return all
}
