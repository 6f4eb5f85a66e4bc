// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// labelWidth is the width of the labels at the beginning of a line.
const labelWidth = 10

// fact returns a label with a text that is broken into lines.
func fact(width int, label string, style term.Style, text string) []string {
	lines := strings.Split(term.Fill(max(1, width-labelWidth), "", "", safetext.Escape(text)), "\n")
	for i, line := range lines {
		lines[i] = term.Pad(label, labelWidth) + style.Paint(line)
		label = ""
	}
	return lines
}

// facts returns the totals of the node, the most important first.
func (m *model) facts(width int) []string {
	s := m.status
	mode := term.Odd
	if s.Mode.Effective == policy.Destroy {
		mode = term.Strong + ";" + term.Good
	}
	lines := fact(width, "Mode", mode, describe.Mode(s.Mode))
	if text := m.switches(); text != "" {
		lines = append(lines, fact(width, "Switches", term.Odd, text)...)
	}

	found := fmt.Sprintf("%d CLOSE_WAIT, %d FIN_WAIT2", s.Candidates[inetdiag.CloseWait.String()], s.Candidates[inetdiag.FinWait2.String()])
	oldest, style := api.Seconds(0), term.Plain
	for _, a := range s.Attachments {
		oldest = max(oldest, a.Oldest)
	}
	if oldest > 0 {
		found += ", oldest " + describe.Age(oldest)
	}
	if n := m.overdue(state.Scope{}); n > 0 {
		found, style = found+fmt.Sprintf(", %d past their grace", n), term.Odd
	}
	lines = append(lines, fact(width, "Found", style, found)...)

	done, would := describe.Total(s.Counts.Destroyed), describe.Total(s.Counts.WouldDestroy)
	text, count := strconv.FormatUint(done, 10), destroyed
	switch {
	case s.Mode.Effective != policy.Destroy: // the rate of observed sockets
		text, count = text+fmt.Sprintf("; %d would have been", would), wouldDestroy
	case would > 0:
		text += fmt.Sprintf(" (%d would have been)", would)
	}
	text += fmt.Sprintf(", %s/s %s last minute", perSecond(m.rates.perSecond(count)), m.rates.bars(20, count))
	lines = append(lines, fact(width, "Destroyed", term.Plain, text)...)

	style = term.Plain
	if s.Finder.Late > 0 {
		style = term.Odd
	}
	finder := fmt.Sprintf("%s, %.1f%% of a core%s; %s, reaper %s", s.Finder.Name, m.share*100, describe.Late(s.Finder),
		describe.Plural(s.Namespaces, "namespace", "namespaces"), s.Version.Version)
	if s.Finder.Why != "" {
		finder += "; " + s.Finder.Why
	}
	if len(s.Finder.Crowded) > 0 {
		finder += "; swept on their own: " + describe.Crowded(s.Finder.Crowded)
	}
	return append(lines, fact(width, "Finder", style, finder)...)
}

func perSecond(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f < 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

// podRow returns the row of the pod whose sockets are shown, and reports whether it is registered.
func (m *model) podRow() (row, bool) {
	for _, r := range m.pods.all {
		if m.pod != nil && r.key == m.pod.key {
			return r, true
		}
	}
	return row{}, false
}

// podFacts returns the policy of the shown pod, its totals and its container.
func (m *model) podFacts(width int) []string {
	r, ok := m.podRow()
	if !ok {
		return []string{term.Odd.Paint("The pod is no longer registered: press Esc.")}
	}
	a := r.a
	style := term.Plain
	text := fmt.Sprintf("%s, grace %s in CLOSE_WAIT, %s in FIN_WAIT2", describe.AttachmentMode(a), a.Policy.CloseWaitGrace, a.Policy.FinWait2Grace)
	if len(a.CappedBy) > 0 {
		text, style = text+", capped by "+strings.Join(a.CappedBy, "; "), term.Odd
	}
	lines := fact(width, "Policy", style, text)
	lines = append(lines, fact(width, "Found", term.Plain, fmt.Sprintf("%s, oldest %s; %d destroyed, %d would have been",
		describe.Plural(r.total(), "socket", "sockets"), ageCell(a.Oldest), a.Destroyed, a.WouldDestroy))...)
	origin := a.IfName + " of network " + a.Network
	if a.Network == state.ManualNetwork {
		origin = "registered by hand"
	}
	return append(lines, fact(width, "Container", term.Plain, fmt.Sprintf("%s, %s, %s", describe.ContainerID(a.ContainerID), origin, a.Netns))...)
}

// sums returns the sockets of the shown pod, counted in one line for each of their properties.
func (m *model) sums(width int) []string {
	var lines []string
	for _, by := range properties() {
		var words []string
		for _, t := range tallies(m.pod.sockets, by.names) {
			words = append(words, fmt.Sprintf("%d %s", t.n, t.name))
		}
		if len(words) > 0 {
			lines = append(lines, term.Pad(by.title, labelWidth)+term.Cut(strings.Join(words, ", "), width-labelWidth))
		}
	}
	return lines
}

// property is a property by which the sockets of a pod are counted.
type property struct {
	title string
	names func(api.SocketView) []string
}

func properties() []property {
	return []property{{"Verdicts", byVerdict}, {"Owners", byOwner}, {"Peers", byPeer}, {"Ports", byLocalPort}}
}

// panel draws what is known about the shown pod beside the list, in height lines.
func (m *model) panel(width, height int) []string {
	if _, ok := m.podRow(); !ok || m.pod == nil {
		return make([]string, height)
	}
	lines := append([]string{term.Strong.Paint(m.podName())}, m.podFacts(width)...)
	for _, problem := range m.podProblems() {
		lines = append(lines, painted(term.Odd, strings.Split(term.Fill(width, "! ", "  ", problem), "\n"))...)
	}
	properties := properties()
	for i, by := range properties {
		list := tallies(m.pod.sockets, by.names)
		if len(list) == 0 {
			continue
		}
		room := (height-len(lines))/(len(properties)-i) - 2 // for the title and the blank
		lines = append(lines, "", term.Strong.Paint(by.title))
		for j, t := range list {
			if j >= room-1 && j < len(list)-1 {
				lines = append(lines, fmt.Sprintf("       and %d more", len(list)-j))
				break
			}
			lines = append(lines, fmt.Sprintf("%6d %s", t.n, t.name))
		}
	}
	return append(lines, make([]string, max(0, height-len(lines)))...)[:height]
}

// podName returns the name of the shown pod.
func (m *model) podName() string {
	if r, ok := m.podRow(); ok {
		return r.name
	}
	return safetext.Escape(m.pod.query) + " (gone)"
}

// podProblems lists the problems of the shown pod.
func (m *model) podProblems() []string {
	var list []string
	for _, r := range m.pods.all {
		if r.key != m.pod.key {
			continue
		}
		for _, f := range describe.AttachmentFindings(&r.a) {
			if f.Kind != describe.ModeCapped { // the facts have that
				list = append(list, safetext.Escape(f.Text))
			}
		}
	}
	for _, problem := range m.pod.problems {
		list = append(list, safetext.Escape(problem))
	}
	return list
}
