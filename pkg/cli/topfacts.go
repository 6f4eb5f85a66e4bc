// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// facts are the totals, the most important first.
func (t *top) facts() []topLine {
	if t.detail != nil {
		return t.detailFacts()
	}
	s := t.status
	overdue, oldest := 0, 0*time.Second
	for _, n := range slices.Concat(s.Ages.CloseWait.Overdue[:], s.Ages.FinWait2.Overdue[:]) {
		overdue += n
	}
	for _, a := range s.Attachments {
		oldest = max(oldest, time.Duration(a.Oldest))
	}
	found := topText(fmt.Sprintf("Found     %d CLOSE_WAIT, %d FIN_WAIT2",
		s.Candidates[inetdiag.CloseWait.String()], s.Candidates[inetdiag.FinWait2.String()]))
	if oldest > 0 {
		found = found.with(plain, ", oldest "+shortAge(oldest))
	}
	if overdue > 0 {
		found = found.with(odd, fmt.Sprintf(", %d past their grace", overdue))
	}
	finder := topText(fmt.Sprintf("Finder    %s, %s of a core", clean(s.Finder.Name), perCent(t.share)))
	if s.Finder.Late > 0 {
		finder = finder.with(odd, late(s.Finder))
	}
	if s.Finder.Why != "" {
		finder = finder.with(plain, "; "+clean(s.Finder.Why))
	}
	return []topLine{found, t.ended(), finder}
}

// ended says how many sockets were destroyed, and how fast.
func (t *top) ended() topLine {
	s := t.status
	done, would := total(s.Counts.Destroyed), total(s.Counts.WouldDestroy)
	l := topText("Destroyed " + strconv.FormatUint(done, 10))
	r := &t.rates.destroyed
	switch {
	case s.Mode.Effective != policy.Destroy: // the rate is of those that would have been
		r, l = &t.rates.would, l.with(plain, fmt.Sprintf("; %d would have been", would))
	case would > 0:
		l = l.with(plain, fmt.Sprintf(" (%d would have been)", would))
	}
	return l.with(plain, fmt.Sprintf(", %s/s ", perSecond(r.perSecond()))).with(good, r.bars(20)).with(plain, " last minute")
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

// shortAge is an age in two units at most.
func shortAge(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 100*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}
