// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// NodeAttachment is an attachment of a node; Node is "" for the only node.
type NodeAttachment struct {
	Node string
	api.AttachmentView
}

// quietRows is the number of attachments up to which quiet ones are listed too.
const quietRows = 20

// PrintAttachments prints a table of attachments, the worst leak first. Without all it only counts the quiet ones of more than
// quietRows.
func (p *Printer) PrintAttachments(list []NodeAttachment, all bool) error {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b NodeAttachment) int {
		return cmp.Or(cmp.Compare(leaked(b), leaked(a)), cmp.Compare(b.Oldest, a.Oldest), cmp.Compare(b.Destroyed, a.Destroyed))
	})
	sc := p.Screen()
	quiet := 0
	if !all && len(list) > quietRows {
		n := len(list)
		list = slices.DeleteFunc(list, isQuiet)
		quiet = n - len(list)
	}
	// On most nodes all attachments have the same interface and network: print these once.
	same := len(list) > 1 && sc.Width > 0 && !slices.ContainsFunc(list, func(a NodeAttachment) bool {
		return a.IfName != list[0].IfName || a.Network != list[0].Network
	})
	cols := []term.Column{
		{Name: "POD"},
		{Name: "CLOSE_WAIT", Right: true, Fold: 1, Lead: ", CLOSE_WAIT "},
		{Name: "FIN_WAIT2", Right: true, Fold: 1, Lead: ", FIN_WAIT2 "},
		{Name: "OLDEST", Right: true, Fold: 2, Lead: ", oldest "},
		{Name: "OVERDUE", Right: true, Fold: 3, Lead: ", past their grace "},
		{Name: "DESTROYED", Right: true, Fold: 3, Lead: ", destroyed "},
		{Name: "MODE", Fold: 4, Lead: ", mode ", Paint: modePaint},
		{Name: "GRACE", Fold: 5, Lead: ", grace "},
		{Name: "IFNAME", Fold: 6, Lead: ", "},
		{Name: "NETWORK", Fold: 6, Lead: " in network "},
	}
	if same {
		cols = cols[:len(cols)-2]
	}
	t := newRows(p, cols, func(a NodeAttachment) []string {
		row := []string{
			describe.Pod(a.Pod, a.ContainerID), count(a, inetdiag.CloseWait), count(a, inetdiag.FinWait2), oldest(a),
			strconv.Itoa(overdue(a)), strconv.FormatUint(a.Destroyed, 10), describe.AttachmentMode(a.AttachmentView), describe.Graces(a.Policy),
			a.IfName, a.Network,
		}
		return row[:len(cols)]
	})
	for _, a := range list {
		t.Add(a.Node, a)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var more []string
	switch {
	case same && list[0].Network == state.ManualNetwork:
		more = append(more, "All of these were registered by hand.")
	case same:
		more = append(more, fmt.Sprintf("All of these are %s in network %s.", list[0].IfName, list[0].Network))
	}
	if quiet > 0 {
		more = append(more, describe.Plural(quiet, "quiet attachment is", "quiet attachments are")+" not listed; --all lists them.")
	}
	if len(more) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(p.Out, term.Fill(sc.Width, "", "", safetext.Escape(strings.Join(more, " "))))
	return err
}

// oldest returns the age of the oldest half-closed socket, "-" if there is none.
func oldest(a NodeAttachment) string {
	if leaked(a) == 0 {
		return "-"
	}
	return describe.Age(a.Oldest)
}

func count(a NodeAttachment, s inetdiag.State) string {
	return strconv.Itoa(a.Candidates[s.String()])
}

// leaked returns the number of half-closed sockets of an attachment.
func leaked(a NodeAttachment) (n int) {
	for _, c := range a.Candidates {
		n += c
	}
	return n
}

// overdue returns the number of half-closed sockets past their grace: the mode or another reason keeps them, or they are
// queued.
func overdue(a NodeAttachment) (n int) {
	for _, counts := range []api.AgeCounts{a.Ages.CloseWait, a.Ages.FinWait2} {
		for _, sockets := range counts.Overdue {
			n += sockets
		}
	}
	return n
}

// isQuiet reports whether an attachment has no half-closed sockets, no destroys and no findings.
func isQuiet(a NodeAttachment) bool {
	return leaked(a) == 0 && a.Destroyed == 0 && a.WouldDestroy == 0 && !describe.HasProblem(&a.AttachmentView)
}
