// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
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

// SummaryRow counts sockets of the history that have these values in common.
type SummaryRow struct {
	summaryKey
	Peer  string    `json:"peer"` // with its port, if it is the same for all
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`

	port uint16 // of the peer; 0 if there are several
}

// Summary counts the sockets of entries.
type Summary struct{ counts map[summaryKey]*SummaryRow }

// Add counts the sockets of an entry.
func (s *Summary) Add(en *api.Entry) {
	if s.counts == nil {
		s.counts = make(map[summaryKey]*SummaryRow)
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
		row = &SummaryRow{summaryKey: key, First: firstOf(en), port: en.Peer.Port()}
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

// Rows returns the rows, the largest count first.
func (s *Summary) Rows() []SummaryRow {
	list := []SummaryRow{}
	for _, row := range s.counts {
		if row.peer.IsValid() {
			row.Peer = addressText(netip.AddrPortFrom(row.peer, row.port))
		}
		list = append(list, *row)
	}
	slices.SortFunc(list, func(a, b SummaryRow) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Pod.String(), b.Pod.String()), cmp.Compare(a.ContainerID, b.ContainerID),
			cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.State, b.State), cmp.Compare(a.Owner, b.Owner), a.peer.Compare(b.peer))
	})
	return list
}

// SummaryRows starts a table of the rows of a summary.
func (p *Printer) SummaryRows() *Rows[SummaryRow] {
	cols := []term.Column{
		{Name: "COUNT", Right: true},
		{Name: "OUTCOME", Fold: 1, Lead: ", ", Paint: outcomePaint},
		{Name: "POD", Fold: 2, Lead: ", "},
		{Name: "STATE", Fold: 3, Lead: ", ", Paint: statePaint},
		{Name: "OWNER", Fold: 4, Lead: ", held by "},
		{Name: "PEER", Fold: 5, Lead: ", peer "},
		{Name: "FIRST", Fold: 6, Lead: ", from "},
		{Name: "LAST", Fold: 6, Lead: " to "},
	}
	return newRows(p, cols, func(row SummaryRow) []string {
		return []string{
			strconv.Itoa(row.Count), row.Outcome, describe.Pod(row.Pod, row.ContainerID), row.State.String(), cmp.Or(row.Owner, "-"),
			cmp.Or(row.Peer, "-"), p.Stamp(row.First), p.Stamp(row.Last),
		}
	})
}

// PrintSummary prints the summary of a history: its rows or, with PrintsObject, an object.
func (p *Printer) PrintSummary(s *Summary, end *api.HistoryEnd) error {
	rows := s.Rows()
	if p.PrintsObject() {
		return p.PrintObject(struct {
			Since    time.Time    `json:"since"`
			Summary  []SummaryRow `json:"summary"`
			Problems []string     `json:"problems,omitempty"`
		}{end.Since, rows, end.Problems})
	}
	t := p.SummaryRows()
	t.Add("", rows...)
	return t.Flush()
}
