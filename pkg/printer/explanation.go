// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"fmt"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// Explanation is the output of halfclose explain.
type Explanation struct {
	// Policies are those of the pod, or of the pods that have the address.
	Policies []api.EffectivePolicy `json:"policies"`
	Sockets  []api.SocketView      `json:"sockets"`
	// Omitted is the number of sockets beyond --limit.
	Omitted int         `json:"omitted"`
	History []api.Entry `json:"history"`
	// Stale is how old the sockets may be.
	Stale api.Seconds `json:"staleSeconds,omitempty"`

	// PolicyFile is the node's policy file.
	PolicyFile api.PolicyFileView `json:"-"`

	alike []int // for each socket, the number of sockets like it that are left out; nil: none
}

// Limit leaves at most n sockets, and counts the others. With groups, sockets that are alike count as one, the oldest.
func (x *Explanation) Limit(n int, groups bool) {
	if groups {
		x.groupAlike()
	}
	for i, alike := range x.alike {
		if i >= n {
			x.Omitted += alike // beside the ones that are cut off below
		}
	}
	cut := max(len(x.Sockets)-n, 0)
	x.Omitted += cut
	x.Sockets = x.Sockets[:len(x.Sockets)-cut]
}

// PrintExplanation prints the policies, unless an address is explained, the sockets and the history.
func (p *Printer) PrintExplanation(x *Explanation, isAddress bool) error {
	if !isAddress {
		if err := p.PrintPolicies(&api.PolicyList{PolicyFile: x.PolicyFile, Policies: x.Policies}); err != nil {
			return err
		}
	}
	sc := p.Screen()
	var b strings.Builder
	if len(x.Sockets) == 0 {
		b.WriteString("\nNo half-closed sockets.\n")
	}
	for i := range x.Sockets {
		v := &x.Sockets[i]
		head := fmt.Sprintf("%s %s, local %s, peer %s", describe.Pod(v.Pod, v.ContainerID), v.State, v.Local, v.Peer)
		b.WriteString("\n" + term.Fill(sc.Width, "", "  ", safetext.Escape(head)) + "\n")
		for _, line := range socketLines(v) {
			first, rest, text := fmt.Sprintf("  %-8s  ", line.label), strings.Repeat(" ", 12), safetext.Escape(line.text)
			if sc.Width > 0 && sc.Width < 50 {
				first, rest, text = "  ", "    ", line.label+" "+text
			}
			b.WriteString(term.Fill(sc.Width, first, rest, text) + "\n")
		}
		if i < len(x.alike) && x.alike[i] > 0 {
			b.WriteString(term.Fill(sc.Width, "  ", "  ", "and "+describe.Plural(x.alike[i], "younger socket", "younger sockets")+" like it: --limit 0 lists each") + "\n")
		}
	}
	if x.Omitted > 0 {
		b.WriteString("\n" + term.Fill(sc.Width, "", "", describe.Plural(x.Omitted, "more socket is", "more sockets are")+" not listed: \"halfclose leaks\" groups them, and --limit 0 lists all.") + "\n")
	}
	if len(x.History) > 0 {
		b.WriteString("\nHistory\n")
	}
	text := strings.TrimPrefix(b.String(), "\n")
	if !isAddress {
		text = b.String()
	}
	if _, err := fmt.Fprint(p.Out, text); err != nil || len(x.History) == 0 {
		return err
	}
	t := p.EntryRows()
	t.Add("", x.History...)
	return t.Flush()
}

// splitWhy splits the reason of a verdict from what follows; next is "" if the reason has nothing about it.
func splitWhy(why string) (reason, next string) {
	for _, start := range []string{"; its peer is asked in ", "; its peer would be asked in ", "; it is destroyed in ", "; it would be destroyed in ", "; it may be destroyed"} {
		if before, after, ok := strings.Cut(why, start); ok {
			return before, strings.TrimPrefix(start, "; ") + after
		}
	}
	return why, ""
}

// aspect is a line of an explanation.
type aspect struct{ label, text string }

// socketLines explains one socket.
func socketLines(v *api.SocketView) []aspect {
	reason, next := splitWhy(v.Why)
	lines := []aspect{{"Verdict", v.Verdict.String() + ": " + reason}}
	if !v.State.HalfClosed() {
		return lines
	}
	if v.Age != nil && v.Idle != nil {
		text := "half-closed for " + describe.Age(*v.Age) + ", no progress for " + describe.Age(*v.Idle)
		if v.Role != policy.RoleUnknown {
			text = v.Role.String() + ", " + text
		}
		lines = append(lines, aspect{"Clock", text})
	}
	rule := v.Rule
	if rule == "" {
		rule = "none matches: the values outside of rules apply"
	}
	if !strings.Contains(next, "destroyed") {
		next = nextStep(v)
	}
	lines = append(lines, aspect{"Rule", rule}, aspect{"Next", next}, aspect{"Peer", peerText(v)})
	owner := "unknown"
	if len(v.Owners) > 0 {
		owner = describe.Owners(v.Owners) + "; after a destroy it sees " + describe.OwnerSees(v.State)
	}
	return append(lines, aspect{"Owner", owner})
}

// nextStep returns what happens to a socket next, and when.
func nextStep(v *api.SocketView) string {
	var steps []string
	does, would := "", "would be "
	if v.Mode == policy.Destroy {
		does, would = "is ", ""
	}
	if v.AskIn != nil && *v.AskIn > 0 && v.Verdict != policy.AskingPeer {
		steps = append(steps, "its peer "+does+would+"asked in "+describe.Age(*v.AskIn))
	}
	switch {
	case v.Verdict == policy.Orphan:
		steps = append(steps, "the kernel closes it after net.ipv4.tcp_fin_timeout")
	case v.Deadline == nil:
		steps = append(steps, "its time never ends, so only its peer or its owner can end it")
	case *v.Deadline > 0:
		steps = append(steps, "it "+does+would+"destroyed in "+describe.Age(*v.Deadline))
	case v.Verdict == policy.WouldDestroy:
		steps = append(steps, "in mode destroy it would be destroyed now")
	case v.Verdict == policy.Destroyable:
		steps = append(steps, "it is destroyed now")
	default:
		steps = append(steps, "it stays for the reason of its verdict")
	}
	return strings.Join(steps, "; ")
}

// peerText returns what is known of a socket's peer.
func peerText(v *api.SocketView) string {
	asked := "not asked yet"
	if v.Questions > 0 {
		asked = "asked " + describe.Plural(v.Questions, "time", "times")
	}
	switch {
	case v.PeerAsked != nil:
		return asked + ", being asked for " + describe.Age(*v.PeerAsked)
	case v.NotAsked != "":
		return "cannot be asked (" + v.NotAsked + "), so only the grace counts"
	case v.PeerAlive != nil:
		return asked + ", answered " + describe.Age(*v.PeerAlive) + " ago: it is alive"
	}
	return asked
}

// groupAlike leaves the oldest of the sockets that are alike: of one pod, state, verdict, rule, owner, and address of a leak.
func (x *Explanation) groupAlike() {
	groups := make(map[string]int)
	var first []api.SocketView
	for i := range x.Sockets {
		v := &x.Sockets[i]
		address := ""
		switch v.Role {
		case policy.RoleServer:
			address = v.Local
		case policy.RoleClient:
			address = v.Peer
		}
		key := fmt.Sprintf("%q", []any{v.Pod, v.ContainerID, v.State, v.Role, v.Verdict, v.Rule, v.NotAsked, v.Owners, address})
		at, ok := groups[key]
		if !ok {
			at = len(first)
			groups[key] = at
			first, x.alike = append(first, *v), append(x.alike, -1)
		}
		x.alike[at]++
	}
	x.Sockets = first
}
