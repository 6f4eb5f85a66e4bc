// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/state"
)

// quietRows is how many attachments are listed whatever is in them.
const quietRows = 20

// printAttachments prints the table of the attachments, those of the worst leak first.
func (e *env) printAttachments(sc screen, list []api.AttachmentView, all bool) error {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b api.AttachmentView) int {
		return cmp.Or(cmp.Compare(leaked(b), leaked(a)), cmp.Compare(b.Oldest, a.Oldest), cmp.Compare(b.Destroyed, a.Destroyed))
	})
	quiet := 0
	if !all && len(list) > quietRows {
		n := len(list)
		list = slices.DeleteFunc(list, isQuiet)
		quiet = n - len(list)
	}
	// Where all have the same interface and network, as on most nodes, that need not be said of each.
	same := len(list) > 1 && sc.width > 0 && !slices.ContainsFunc(list, func(a api.AttachmentView) bool {
		return a.IfName != list[0].IfName || a.Network != list[0].Network
	})
	cols := []column{
		{name: "POD"},
		{name: "CLOSE_WAIT", right: true, fold: 1, lead: ", CLOSE_WAIT "},
		{name: "FIN_WAIT2", right: true, fold: 1, lead: ", FIN_WAIT2 "},
		{name: "OLDEST", right: true, fold: 2, lead: ", oldest "},
		{name: "DESTROYED", right: true, fold: 3, lead: ", destroyed "},
		{name: "MODE", fold: 4, lead: ", mode ", paint: modePaint},
		{name: "GRACE", fold: 5, lead: ", grace "},
		{name: "IFNAME", fold: 6, lead: ", "},
		{name: "NETWORK", fold: 6, lead: " in network "},
	}
	if same {
		cols = cols[:len(cols)-2]
	}
	t := newTable(e.out, sc, cols...)
	for _, a := range list {
		row := []string{
			podName(a.Pod, a.ContainerID), count(a, inetdiag.CloseWait), count(a, inetdiag.FinWait2), ago(a.Oldest),
			strconv.FormatUint(a.Destroyed, 10), attachmentMode(a), graces(a.Policy), a.IfName, a.Network,
		}
		t.row(row[:len(cols)]...)
	}
	if err := t.flush(); err != nil {
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
		more = append(more, plural(quiet, "attachment has", "attachments have")+" nothing to show; --all lists them too.")
	}
	if len(more) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(e.out, fill(sc.width, "", "", clean(strings.Join(more, " "))))
	return err
}

func count(a api.AttachmentView, s inetdiag.State) string {
	return strconv.Itoa(a.Candidates[s.String()])
}

// leaked is how many half-closed sockets are in an attachment's namespace.
func leaked(a api.AttachmentView) (n int) {
	for _, c := range a.Candidates {
		n += c
	}
	return n
}

// isQuiet reports whether there is nothing to see in an attachment.
func isQuiet(a api.AttachmentView) bool {
	return leaked(a) == 0 && a.Destroyed == 0 && a.WouldDestroy == 0 && a.Inert == "" && a.Problem == "" && len(a.Warnings) == 0
}

func attachmentMode(a api.AttachmentView) string {
	switch {
	case a.Inert != "":
		return "inert"
	case len(a.CappedBy) > 0:
		return a.Mode.String() + "*"
	}
	return a.Mode.String()
}

func graces(p api.PolicyView) string {
	if p.CloseWaitGrace == p.FinWait2Grace {
		return p.CloseWaitGrace.String()
	}
	return p.CloseWaitGrace.String() + "/" + p.FinWait2Grace.String()
}
