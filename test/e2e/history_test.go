// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/api"
)

func TestTheHistoryIsFollowedAcrossACrashOfTheReaperUntilInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newContainer(t, nil)
	if r := run(t, w.plugin("ADD", c.attachment(), c.path, pluginConf(external+`, "grace": "1s"`))); r.code != 0 {
		t.Fatalf("ADD: %s%s", r.stdout, r.stderr)
	}
	p := w.start(t)
	w.holds(t, p.PID())

	follow := w.command("history", "--follow")
	var stdout, stderr outputtest.Buffer
	follow.Stdout, follow.Stderr = &stdout, &stderr
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- follow.Wait() }()
	t.Cleanup(func() { _ = follow.Process.Kill() }) // it may have exited

	before := leak(t, c)
	nstest.Eventually(t, testnode.Patience, "the first destroy is shown", func() bool { return strings.Contains(stdout.String(), before.RemoteAddr().String()) })
	p.Kill()
	nstest.Eventually(t, testnode.Patience, "it reports that it waits", func() bool { return strings.Contains(stderr.String(), "lost the reaper; waiting") })
	away := cpu(t, follow)
	since := time.Now()
	nstest.Eventually(t, testnode.Patience, "two seconds have passed", func() bool { return time.Since(since) > 2*time.Second })
	if used := cpu(t, follow) - away; used > 200*time.Millisecond {
		t.Errorf("while it waited for two seconds it used %v of CPU", used)
	}
	after := leak(t, c)
	w.start(t)
	nstest.Eventually(t, testnode.Patience, "a destroy of the next reaper is shown", func() bool { return strings.Contains(stdout.String(), after.RemoteAddr().String()) })
	if !strings.Contains(stderr.String(), "the reaper was restarted at ") || strings.Count(stdout.String(), "TIME") != 1 {
		t.Errorf("stderr is\n%s\nand stdout\n%s", stderr.String(), stdout.String())
	}
	if err := follow.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("after ^C: %v", err)
		}
	case <-time.After(testnode.Patience):
		t.Errorf("it keeps running after ^C")
	}
}

// cpu returns the CPU time that a process has used.
func cpu(t *testing.T, cmd *exec.Cmd) time.Duration {
	t.Helper()
	clock := int32(^cmd.Process.Pid)<<3 | 2 // CPUCLOCK_SCHED of the process, see clock_getcpuclockid(3)
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

func TestTheHistoryIsFilteredAndPrintedAsJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	quick := newContainer(t, map[string]string{"halfclose.cni/grace": "1s"})
	watched := newContainer(t, map[string]string{"halfclose.cni/grace": "1s", "halfclose.cni/mode": "observe"})
	list := network(t)
	w.add(t, list, quick)
	w.add(t, list, watched)
	dead, spared := leak(t, quick), leak(t, watched)
	nstest.Eventually(t, testnode.Patience, "both are past their grace", func() bool {
		counts := w.outcomes()
		return counts[api.Destroyed] > 0 && counts[api.WouldDestroy] > 0
	})
	peers := func(args ...string) (all []string) {
		r := w.run(t, append([]string{"history", "-o", "json"}, args...)...)
		var page api.HistoryPage
		parse(t, r, &page)
		for _, en := range page.Entries {
			all = append(all, en.Local.String(), en.Peer.String()) // either end may have been destroyed
		}
		return all
	}
	for _, tt := range []struct {
		args []string
		want string
		not  string
	}{
		{[]string{"--pod", quick.name}, dead.RemoteAddr().String(), spared.RemoteAddr().String()},
		{[]string{"--pod", "e2e/" + watched.name}, spared.RemoteAddr().String(), dead.RemoteAddr().String()},
		{[]string{"--outcome", "destroyed", "--since", "1h"}, dead.RemoteAddr().String(), spared.RemoteAddr().String()},
		{[]string{"--outcome", "would-destroy"}, spared.RemoteAddr().String(), dead.RemoteAddr().String()},
	} {
		got := strings.Join(peers(tt.args...), " ")
		if !strings.Contains(got, tt.want) || strings.Contains(got, tt.not) {
			t.Errorf("%v: got %s, want %s and not %s", tt.args, got, tt.want, tt.not)
		}
	}
	if got := peers("--since", "0s"); got != nil {
		t.Errorf("entries since the question: %v", got)
	}
	var v struct {
		Sockets []api.SocketView `json:"sockets"`
	}
	r := w.run(t, "sockets", "--verdict", "would-destroy", "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, s := range v.Sockets {
		found = found || s.Local == spared.LocalAddr().String() && strings.Contains(s.Why, "but the mode is observe")
		if s.Pod.Name != watched.name {
			t.Errorf("the sockets that would be destroyed include %+v", s)
		}
	}
	if !found {
		t.Errorf("the sockets that would be destroyed do not include %s:\n%s", spared.LocalAddr(), r.stdout)
	}
}
