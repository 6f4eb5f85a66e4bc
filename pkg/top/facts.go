// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

// facts returns the totals, the most important first.
func (m *model) facts() []line {
	if m.detail != nil {
		return m.detailFacts()
	}
	s := m.status
	overdue, oldest := 0, api.Seconds(0)
	for _, n := range slices.Concat(s.Ages.CloseWait.Overdue[:], s.Ages.FinWait2.Overdue[:]) {
		overdue += n
	}
	for _, a := range s.Attachments {
		oldest = max(oldest, a.Oldest)
	}
	found := text(fmt.Sprintf("Found     %d CLOSE_WAIT, %d FIN_WAIT2",
		s.Candidates[inetdiag.CloseWait.String()], s.Candidates[inetdiag.FinWait2.String()]))
	if oldest > 0 {
		found = found.with(term.Plain, ", oldest "+describe.Age(oldest))
	}
	if overdue > 0 {
		found = found.with(term.Odd, fmt.Sprintf(", %d past their grace", overdue))
	}
	finder := text(fmt.Sprintf("Finder    %s, %s of a core", safetext.Escape(s.Finder.Name), perCent(m.share)))
	if s.Finder.Late > 0 {
		finder = finder.with(term.Odd, describe.Late(s.Finder))
	}
	if s.Finder.Why != "" {
		finder = finder.with(term.Plain, "; "+safetext.Escape(s.Finder.Why))
	}
	return []line{found, m.destroyed(), finder}
}

// destroyed returns the number of destroyed sockets, and the rate of the last minute.
func (m *model) destroyed() line {
	s := m.status
	done, would := describe.Total(s.Counts.Destroyed), describe.Total(s.Counts.WouldDestroy)
	l := text("Destroyed " + strconv.FormatUint(done, 10))
	r := &m.rates.destroyed
	switch {
	case s.Mode.Effective != policy.Destroy: // the rate of observed sockets
		r, l = &m.rates.would, l.with(term.Plain, fmt.Sprintf("; %d would have been", would))
	case would > 0:
		l = l.with(term.Plain, fmt.Sprintf(" (%d would have been)", would))
	}
	return l.with(term.Plain, fmt.Sprintf(", %s/s ", perSecond(r.perSecond()))).with(term.Good, r.bars(20)).with(term.Plain, " last minute")
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

func perCent(f float64) string {
	return strconv.FormatFloat(f*100, 'f', 1, 64) + "%"
}
