// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/peer"
)

// uses are the columns of the table in docs/install.md that has what a reaper does without each capability.
func uses() []string {
	return []string{"destroys", "finds owners", "asks peers", "follows `/proc/PID/ns/net`"}
}

// withoutEach returns the rows of that table: "yes" or "no" for each use, by the finder and the missing capability.
func withoutEach(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(top + "/docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	head := "| finder | without | " + strings.Join(uses(), " | ") + " |\n"
	_, table, ok := strings.Cut(string(b), head)
	if !ok {
		t.Fatalf("docs/install.md has no table %q", head)
	}
	rows := make(map[string][]string)
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		switch {
		case strings.HasPrefix(line, "|---"):
		case len(cells) == 2+len(uses()):
			rows[cells[0]+" "+cells[1]] = cells[2:]
		default:
			return rows
		}
	}
	return rows
}

// TestEachCapabilityIsNeededForTheUsesInTheTable runs a reaper of each finder without each of its capabilities, and with all.
// Its sockets belong to processes of another user.
func TestEachCapabilityIsNeededForTheUsesInTheTable(t *testing.T) {
	rows := withoutEach(t)
	eachFinder(t, func(t *testing.T, by string) {
		for _, missing := range []string{"none", "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"} {
			if by == finder.NameBPF && missing == "CAP_SYS_ADMIN" {
				continue // it loads no program: --finder auto falls back to sockdiag
			}
			t.Run(missing, func(t *testing.T) {
				t.Parallel()
				if diff := cmp.Diff(rows[by+" "+missing], usesWithout(t, by, missing)); diff != "" {
					t.Errorf("%q (-table +this reaper)\n%s", uses(), diff)
				}
			})
		}
	})
}

// usesWithout starts a reaper without a capability, and returns what it does: for each use "yes", or "no" once the reaper
// reports that it cannot.
func usesWithout(t *testing.T, by, missing string) []string {
	t.Helper()
	r, s, byProcess := idleReaper(t, by), newScene(t), newScene(t)
	destroyed, asked, followed := s.leftByServer(), s.leftByServer(), byProcess.leftByServer()
	destroyedAt, askedAt, followedAt := addressed(destroyed.Client), addressed(asked.Client), addressed(followed.Client)
	port := destroyed.Client.LocalAddr().(*net.TCPAddr).Port
	owner := handToAnotherUser(t, s.near, destroyed)
	handToAnotherUser(t, s.near, asked)
	path := fmt.Sprintf("/proc/%d/ns/net", handToAnotherUser(t, byProcess.near, followed))

	// One network namespace is mounted for the reaper, the path of the other leads through a process of the other user.
	mounted := filepath.Join(filepath.Dir(r.log), "netns")
	if err := os.WriteFile(mounted, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.put(r.recordAt(s.near, mounted, "mounted", fmt.Sprintf(`{"probeAfter": "1s", "grace": "1h",
		"rules": [{"match": {"localPorts": "%d"}, "probeAfter": "never", "grace": "1s"}]}`, port)))
	r.put(r.recordAt(byProcess.near, path, "followed", `{"probeAfter": "never", "grace": "1s"}`))
	mount := fmt.Sprintf(`mount --bind %s %s && exec "$@"`, s.near.Path(), mounted)
	r.launch(slices.Concat([]string{"unshare", "--mount", "sh", "-c", mount, "-"}, under(without+missing), inContainer()))

	view := func(at endpoints, owners bool, want func(api.SocketView) bool) bool {
		list, err := r.Sockets(t.Context(), api.SocketQuery{Owners: owners})
		return err == nil && slices.ContainsFunc(list.Sockets, func(v api.SocketView) bool { return v.Local == at.local.String() && want(v) })
	}
	status := func(is func(api.Status) bool) bool {
		s, err := r.Status(t.Context())
		return err == nil && is(s)
	}
	unreachable := func(path string) bool {
		return status(func(s api.Status) bool {
			return slices.ContainsFunc(s.Attachments, func(a api.AttachmentView) bool { return a.Netns == path && a.Problem != "" })
		})
	}
	incapable := func() bool {
		return status(func(s api.Status) bool { return s.Mode.KernelProblem != "" }) || unreachable(mounted)
	}
	tries := []struct{ does, cannot func() bool }{
		{func() bool { e, ok := r.entry(destroyedAt); return ok && e.Outcome == api.Destroyed }, incapable},
		{func() bool {
			return view(askedAt, true, func(v api.SocketView) bool { return len(v.Owners) == 1 })
		}, func() bool {
			list, err := r.Sockets(t.Context(), api.SocketQuery{Owners: true})
			return unreachable(mounted) || err == nil && len(list.Problems) > 0
		}},
		{func() bool {
			return view(askedAt, false, func(v api.SocketView) bool { return v.PeerAlive != nil })
		}, func() bool {
			return incapable() || view(askedAt, false, func(v api.SocketView) bool { return v.NotAsked != "" })
		}},
		{func() bool { // also one that may destroy nothing
			e, ok := r.entry(followedAt)
			return ok && (e.Outcome == api.Destroyed || e.Outcome == api.WouldDestroy)
		}, func() bool { return unreachable(path) }},
	}
	got := make([]string, len(tries))
	for i, try := range tries {
		nstest.Eventually(t, patience, "the reaper "+uses()[i]+", or reports that it cannot", func() bool {
			switch {
			case try.does():
				got[i] = "yes"
			case try.cannot():
				got[i] = "no"
			}
			return got[i] != ""
		})
	}
	if e, ok := r.entry(destroyedAt); ok && got[1] == "yes" && (len(e.Owners) != 1 || e.Owners[0].PID != owner) {
		t.Errorf("it finds owners, and destroyed a socket of %v, not of %d", e.Owners, owner)
	}
	return got
}

// recordAt returns the record of a network namespace that the reaper reaches by a path.
func (r *reaper) recordAt(ns *nstest.NS, path, container, object string) (rec state.Record) {
	r.t.Helper()
	rec = r.record(ns, container, object)
	rec.Netns.Path = path
	return rec
}

// handToAnotherUser passes the near end of a connection to a process of an ordinary user, and returns the process.
func handToAnotherUser(t *testing.T, ns *nstest.NS, p nstest.Pair) (pid int) {
	t.Helper()
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{self(), "other"}}
	cmd.Env = append(os.Environ(), envRole+"="+rolePeer)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Stderr = os.Stderr
	in, out := ns.Start(t, cmd, p.Client)
	if _, err := peer.NewClient(in, out); err != nil {
		t.Fatal(err)
	}
	if err := p.Client.Close(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}
