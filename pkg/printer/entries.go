// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// PrintEntryLines prints each entry as a line of JSON.
func (p *Printer) PrintEntryLines(entries []api.Entry) error {
	enc := json.NewEncoder(printable{w: p.Out})
	for i := range entries {
		if err := enc.Encode(&entries[i]); err != nil {
			return err
		}
	}
	return nil
}

// EntryRows starts a table of entries of the history.
func (p *Printer) EntryRows() *Rows[api.Entry] {
	cols := []term.Column{
		{Name: "TIME"},
		{Name: "OUTCOME", Fold: 1, Lead: ", ", Paint: outcomePaint},
		{Name: "POD", Fold: 2, Lead: ", "},
		{Name: "STATE", Fold: 3, Lead: ", ", Paint: statePaint},
		{Name: "LOCAL", Fold: 5, Lead: ", local "},
		{Name: "PEER", Fold: 5, Lead: ", peer "},
		{Name: "AGE", Right: true, Fold: 4, Lead: ", age "},
		{Name: "IDLE", Right: true, Fold: 6, Lead: ", idle "},
		{Name: "GRACE", Right: true, Fold: 7, Lead: ", grace "},
		{Name: "LATE", Right: true, Fold: 8, Lead: ", late "},
		{Name: "RECV-Q", Right: true, Fold: 8, Lead: ", recv-q "},
		{Name: "SEND-Q", Right: true, Fold: 8, Lead: ", send-q "},
		{Name: "OWNERS", Fold: 9, Lead: "; held by "},
	}
	return newRows(p, cols, func(entry api.Entry) []string {
		en := &entry
		return []string{
			p.Stamp(en.Time), outcomeText(en), describe.Pod(en.Pod, en.ContainerID), en.State.String(), addressText(en.Local), addressText(en.Peer),
			describe.Age(en.Age), describe.Age(en.Idle), graceText(en), describe.Age(en.Late),
			strconv.FormatUint(uint64(en.RQueue), 10), strconv.FormatUint(uint64(en.WQueue), 10), ownersText(en),
		}
	})
}

// outcomeText returns an entry's outcome with its cause, and the number of sockets if there are several.
func outcomeText(en *api.Entry) string {
	text := en.Outcome
	if how := en.How + en.Errno; how != "" {
		text += " (" + how + ")"
	}
	if en.Count > 1 {
		text += fmt.Sprintf(" x%d", en.Count)
	}
	return text
}

func graceText(en *api.Entry) string {
	if en.Grace == 0 {
		return "-"
	}
	return en.Grace.String()
}

// addressText returns an address; an entry of several sockets may have none, or no port.
func addressText(at netip.AddrPort) string {
	switch {
	case !at.IsValid():
		return "-"
	case at.Port() == 0:
		return api.End{AddrPort: at}.String()
	}
	return at.String()
}

func ownersText(en *api.Entry) string {
	text := describe.Owners(en.Owners)
	if en.MoreOwners > 0 {
		text += fmt.Sprintf(" and %d more", en.MoreOwners)
	}
	return text
}

// firstOf returns when the first socket of an entry ended.
func firstOf(en *api.Entry) time.Time {
	if en.First.IsZero() {
		return en.Time
	}
	return en.First
}
