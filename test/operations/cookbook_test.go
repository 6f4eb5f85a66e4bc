// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// idler is a half-closed socket in which no byte has moved for some time.
type idler struct {
	state           inetdiag.State
	role            policy.Role
	command         string // "" if the owner was not found
	local, peer     string
	unread, unacked uint32
	idle            time.Duration
	answered        uint8 // number of questions that its peer has answered
}

// judge returns the verdict of a policy on the socket.
func (s idler) judge(t *testing.T, conf string) policy.Verdict {
	t.Helper()
	network, problems := policy.ParseNetwork([]byte(conf))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	const now = monotime.Time(1000 * time.Hour)
	start := now.Add(-s.idle)
	diag := &inetdiag.Socket{
		ID:    inetdiag.NewID(unix.AF_INET, netip.MustParseAddrPort(s.local), netip.MustParseAddrPort(s.peer), 0, 1),
		State: s.state, Inode: 1, HasInfo: true, RQueue: s.unread, WQueue: s.unacked,
	}
	diag.Info.BytesReceived = uint64(s.unread)
	if s.state == inetdiag.CloseWait {
		diag.RQueue++ // the FIN
		diag.Info.BytesReceived++
	}
	h := policy.Follow(nil, policy.Look{At: start, Entered: start, Socket: diag, Role: s.role})
	diag.Info.LastAckRecv, diag.Info.LastDataRecv = s.idle, s.idle
	h = policy.Follow(&h, policy.Look{At: now, Socket: diag, Role: s.role})
	if h.Asks = s.answered; s.answered > 0 {
		h.PeerAlive = start.Add(s.idle / 2)
	}
	f := policy.Facts{Role: s.role, OwnersKnown: true, OwnersComplete: true}
	if s.command != "" {
		f.Owners = []policy.Owner{{Command: s.command}}
	}
	return policy.Judge(network.Layers(nil).Resolve(time.Second).Policies, &h, diag, f, now)
}

// cookbook returns the examples of the section on rules by the title of their paragraph.
func cookbook(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(top, "docs/operate.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## Rules\n")
	section, _, _ = strings.Cut(section, "\n## ")
	found := make(map[string][]string)
	for _, text := range strings.Split(section, "\n**")[1:] {
		title, rest, _ := strings.Cut(text, ".**")
		for _, example := range fenced.FindAllStringSubmatch(rest, -1) {
			found[title] = append(found[title], example[1])
		}
	}
	return found
}

// Each example is judged on sockets that its text describes, and on others that it must not change.
func TestEachRuleDoesWhatItsTextDescribes(t *testing.T) {
	const (
		pod, web    = "10.1.2.3:43210", "10.9.8.7:443"
		server      = "10.1.2.3:8080"
		m, h        = time.Minute, time.Hour
		client, srv = policy.RoleClient, policy.RoleServer
		cw, fw      = inetdiag.CloseWait, inetdiag.FinWait2
	)
	type claim struct {
		example int
		idler   idler
		want    policy.Reason
	}
	all := cookbook(t)
	for title, claims := range map[string][]claim{
		"Client pools that must not reuse a dead connection": {
			{0, idler{state: cw, role: client, local: pod, peer: web, idle: 64 * time.Second}, policy.WithinGrace},
			{0, idler{state: cw, role: client, local: pod, peer: web, idle: 66 * time.Second}, policy.AskingPeer},
			{0, idler{state: cw, role: client, local: pod, peer: web, idle: 66 * time.Second, unread: 24}, policy.AskingPeer},
			{0, idler{state: cw, role: client, local: pod, peer: web, idle: 11 * m, answered: 3}, policy.Destroyable},
			{0, idler{state: cw, role: client, local: pod, peer: "10.9.8.7:9000", idle: 66 * time.Second}, policy.WithinGrace},
			{0, idler{state: cw, role: srv, local: server, peer: pod, idle: 11 * m, answered: 3}, policy.PeerAlive},
		},
		"Servers that compute": {
			{0, idler{state: cw, role: srv, local: server, peer: pod, idle: 2 * m}, policy.AskingPeer},
			{0, idler{state: cw, role: srv, local: server, peer: pod, idle: 100 * h, answered: 120}, policy.GraceNever},
			{0, idler{state: cw, role: client, local: pod, peer: web, idle: 2 * h, answered: 5}, policy.Destroyable},
			{1, idler{state: fw, role: client, local: pod, peer: server, idle: 2 * h, answered: 6}, policy.PeerAlive},
			{1, idler{state: fw, role: client, local: pod, peer: server, idle: 5 * h, answered: 8}, policy.Destroyable},
			{1, idler{state: fw, role: client, local: pod, peer: web, idle: 2 * h, answered: 6}, policy.Destroyable},
		},
		"Sidecars and proxies": {
			{0, idler{state: fw, role: srv, command: "envoy", local: server, peer: pod, idle: 16 * m, answered: 4}, policy.Destroyable},
			{0, idler{state: cw, role: client, command: "linkerd2-proxy", local: pod, peer: web, idle: 16 * m, answered: 4}, policy.Destroyable},
			{0, idler{state: fw, role: srv, command: "python3", local: server, peer: pod, idle: 16 * m, answered: 4}, policy.PeerAlive},
		},
		"Databases and shells, by command": {
			{0, idler{state: cw, role: srv, command: "postgres", local: "10.1.2.3:5432", peer: pod, idle: 50 * h}, policy.Exempted},
			{0, idler{state: cw, role: srv, command: "java", local: server, peer: pod, idle: 2 * h, answered: 5}, policy.Destroyable},
			{0, idler{state: cw, role: srv, local: server, peer: pod, idle: 2 * h}, policy.OwnerUnknown},
		},
		"Only above a number": {
			{0, idler{state: fw, role: srv, local: "10.1.2.3:443", peer: pod, idle: 3 * m, answered: 1}, policy.Destroyable}, // if Above allows it
			{0, idler{state: fw, role: srv, local: server, peer: pod, idle: 3 * m, answered: 1}, policy.PeerAlive},
		},
		"Abandoned downloads": {
			{0, idler{state: cw, role: client, local: pod, peer: web, unread: 32768, idle: 20 * m, answered: 3}, policy.UnreadData},
			{0, idler{state: cw, role: client, local: pod, peer: web, unread: 32768, idle: 31 * m, answered: 4}, policy.Destroyable},
			{0, idler{state: fw, role: client, local: pod, peer: web, unacked: 9000, idle: 20 * m}, policy.UnackedData},
			{0, idler{state: cw, role: srv, local: server, peer: pod, unread: 32768, idle: 119 * m, answered: 6}, policy.UnreadData},
		},
		"`kubectl port-forward`": {
			{0, idler{state: cw, role: client, command: "containerd", local: "127.0.0.1:40000", peer: "127.0.0.1:8080", idle: 9 * h, answered: 13}, policy.GraceNever},
			{0, idler{state: cw, role: client, command: "java", local: "127.0.0.1:40000", peer: "127.0.0.1:8080", idle: 9 * h, answered: 13}, policy.Destroyable},
		},
		"Sockets of the kernel, and of a sockmap": {
			{0, idler{state: cw, role: client, local: pod, peer: "10.0.0.9:2049", idle: 50 * h}, policy.Exempted},
			{0, idler{state: cw, role: srv, local: "10.1.2.3:15001", peer: pod, idle: 50 * h}, policy.Exempted},
		},
		"A link on which packets cost": {
			{0, idler{state: cw, role: client, local: pod, peer: "100.64.7.1:443", idle: 59 * m}, policy.WithinGrace},
			{0, idler{state: cw, role: client, local: pod, peer: "100.64.7.1:443", idle: 61 * m}, policy.Destroyable},
			{0, idler{state: cw, role: client, local: pod, peer: web, idle: 59 * m}, policy.AskingPeer},
		},
	} {
		examples := all[title]
		delete(all, title)
		tested := make(map[int]bool)
		for _, c := range claims {
			if c.example >= len(examples) {
				t.Fatalf("%s has %d examples", title, len(examples))
			}
			tested[c.example] = true
			if v := c.idler.judge(t, examples[c.example]); v.Reason != c.want {
				t.Errorf("%s, example %d: %+v is judged %s, want %s", title, c.example, c.idler, v.Reason, c.want)
			}
		}
		if len(tested) != len(examples) {
			t.Errorf("%s: %d of %d examples are tested", title, len(tested), len(examples))
		}
	}
	for title := range all {
		t.Errorf("no claim tests %s", title)
	}
}

func TestAboveBoundsTheVerdict(t *testing.T) {
	s := idler{state: inetdiag.FinWait2, role: policy.RoleServer, local: "10.1.2.3:443", peer: "10.1.2.3:43210", idle: 3 * time.Minute, answered: 1}
	if v := s.judge(t, cookbook(t)["Only above a number"][0]); len(v.Above) != 1 {
		t.Errorf("%d rules bound the verdict, want 1", len(v.Above))
	}
}
