// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// summaryKey is what the sockets of a row of the summary have in common.
type summaryKey struct {
	Pod         state.Pod      `json:"pod"`
	ContainerID string         `json:"containerID,omitempty"`
	Outcome     string         `json:"outcome"`
	State       inetdiag.State `json:"state"`
	Owner       string         `json:"owner,omitempty"` // the command of the first owner
	peer        netip.Addr
}

// summaryRow counts sockets.
type summaryRow struct {
	summaryKey
	Peer  string    `json:"peer"` // with its port, if it is the same for all
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`

	port uint16 // of the peer; 0 if there are several
}

// summary counts the sockets of entries.
type summary struct{ counts map[summaryKey]*summaryRow }

func (s *summary) add(en *api.Entry) {
	if s.counts == nil {
		s.counts = make(map[summaryKey]*summaryRow)
	}
	key := summaryKey{Pod: en.Pod, ContainerID: en.ContainerID, Outcome: en.Outcome, State: en.State, peer: en.Peer.Addr()}
	key.Pod.UID = ""
	if key.Pod.Name != "" {
		key.ContainerID = "" // a pod that was restarted is still the same
	}
	if len(en.Owners) > 0 {
		key.Owner = en.Owners[0].Command
	}
	row := s.counts[key]
	if row == nil {
		row = &summaryRow{summaryKey: key, First: firstOf(en), port: en.Peer.Port()}
		s.counts[key] = row
	}
	row.Count += en.Sockets()
	if row.port != en.Peer.Port() {
		row.port = 0
	}
	if first := firstOf(en); first.Before(row.First) {
		row.First = first
	}
	if en.Time.After(row.Last) {
		row.Last = en.Time
	}
}

// rows returns the rows, the largest count first.
func (s *summary) rows() []summaryRow {
	list := []summaryRow{}
	for _, row := range s.counts {
		if row.peer.IsValid() {
			row.Peer = addressText(netip.AddrPortFrom(row.peer, row.port))
		}
		list = append(list, *row)
	}
	slices.SortFunc(list, func(a, b summaryRow) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Pod.String(), b.Pod.String()), cmp.Compare(a.ContainerID, b.ContainerID),
			cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.State, b.State), cmp.Compare(a.Owner, b.Owner), a.peer.Compare(b.peer))
	})
	return list
}

// printSummary prints the rows of a summary.
func (e *env) printSummary(rows []summaryRow, end api.HistoryEnd) error {
	if e.printsObject() {
		return e.printObject(struct {
			Since    time.Time    `json:"since"`
			Summary  []summaryRow `json:"summary"`
			Problems []string     `json:"problems,omitempty"`
		}{end.Since, rows, end.Problems})
	}
	t := e.table(
		term.Column{Name: "COUNT", Right: true},
		term.Column{Name: "OUTCOME", Fold: 1, Lead: ", ", Paint: outcomePaint},
		term.Column{Name: "POD", Fold: 2, Lead: ", "},
		term.Column{Name: "STATE", Fold: 3, Lead: ", ", Paint: statePaint},
		term.Column{Name: "OWNER", Fold: 4, Lead: ", held by "},
		term.Column{Name: "PEER", Fold: 5, Lead: ", peer "},
		term.Column{Name: "FIRST", Fold: 6, Lead: ", from "},
		term.Column{Name: "LAST", Fold: 6, Lead: " to "})
	for _, row := range rows {
		t.Row(strconv.Itoa(row.Count), row.Outcome, describe.Pod(row.Pod, row.ContainerID), row.State.String(), cmp.Or(row.Owner, "-"),
			cmp.Or(row.Peer, "-"), e.stamp(row.First), e.stamp(row.Last))
	}
	return t.Flush()
}

// answer counts what the entries say about connections with certain ends.
type answer struct {
	ends   api.Ends
	counts map[string]int // by outcome
	states map[inetdiag.State]int
	last   map[string]time.Time
	maybe  int // sockets of entries that do not have the addresses or ports of each
}

func (a *answer) add(en *api.Entry) {
	if a.ends.IsZero() {
		return
	}
	if a.counts == nil {
		a.counts, a.states, a.last = make(map[string]int), make(map[inetdiag.State]int), make(map[string]time.Time)
	}
	if en.Count > 1 && !a.isExact(en) {
		a.maybe += en.Count
		return
	}
	a.counts[en.Outcome] += en.Sockets()
	if en.Outcome == api.Destroyed {
		a.states[en.State] += en.Sockets()
	}
	a.last[en.Outcome] = en.Time
}

// isExact reports whether all sockets of an entry have the ends.
func (a *answer) isExact(en *api.Entry) bool {
	one := *en
	one.Count = 1
	return a.ends.Match(&one)
}

// answer prints whether halfclose ended the connections. Its error is that the history has none of them.
func (e *env) answer(a *answer, end *api.HistoryEnd) error {
	of := strings.ReplaceAll(a.ends.String(), ",", " and ")
	if len(a.counts) == 0 && a.maybe == 0 {
		return fmt.Errorf("no: the history since %s has no connection of %s", e.stamp(end.Since), of)
	}
	var parts []string
	part := func(outcome, one, many string) {
		if n := a.counts[outcome]; n > 0 {
			text := fmt.Sprintf(many, n)
			if n == 1 {
				text = one
			}
			parts = append(parts, text+", last at "+e.stamp(a.last[outcome]))
		}
	}
	part(api.Destroyed, "halfclose destroyed one"+a.effect(), "halfclose destroyed %d"+a.effect())
	part(api.PeerGone, "the kernel closed one when halfclose asked its peer, which was gone", "the kernel closed %d when halfclose asked their peers, which were gone")
	part(api.WouldDestroy, "halfclose would have destroyed one, but the mode kept it", "halfclose would have destroyed %d, but the mode kept them")
	part(api.Closed, "one was closed by its owner while halfclose asked its peer, after a reset if the peer was gone",
		"%d were closed by their owners while halfclose asked their peers, after a reset if the peer was gone")
	part(api.Failed, "the kernel refused to destroy one", "the kernel refused to destroy %d")
	if a.maybe > 0 {
		parts = append(parts, fmt.Sprintf("%d more may be among them: they are summed, without the address or port of each", a.maybe))
	}
	verdict := "no"
	switch {
	case a.counts[api.Destroyed]+a.counts[api.PeerGone] > 0:
		verdict = "yes"
	case a.maybe+a.counts[api.Closed] > 0: // a polled socket's owner learns of the reset before the reaper looks again
		verdict = "perhaps"
	}
	e.note("%s: of the connections of %s, %s", verdict, of, strings.Join(parts, "; "))
	return nil
}

// effect returns what the peers of destroyed sockets saw, if it was the same for all.
func (a *answer) effect() string {
	switch {
	case len(a.states) != 1:
		return ""
	case a.states[inetdiag.CloseWait] > 0:
		return " in CLOSE_WAIT (the peer's next recv returns ECONNRESET, the owner's send ECONNABORTED)"
	}
	return " in FIN_WAIT2 (the peer's next recv returns EOF, its send EPIPE, the owner's recv ECONNABORTED)"
}
