// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"fmt"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// Answer counts what the entries of the history say about connections with certain ends. A zero Ends counts nothing.
type Answer struct {
	Ends   api.Ends
	counts map[string]int // by outcome
	states map[inetdiag.State]int
	last   map[string]time.Time
	maybe  int // sockets of entries that do not have the addresses or ports of each
}

// Add counts an entry that the ends select.
func (a *Answer) Add(en *api.Entry) {
	if a.Ends.IsZero() {
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
func (a *Answer) isExact(en *api.Entry) bool {
	one := *en
	one.Count = 1
	return a.Ends.Match(&one)
}

// Text describes whether halfclose ended the connections, with times as stamp formats them. Its error is that the history, which
// began at since, has none of them.
func (a *Answer) Text(since time.Time, stamp func(time.Time) string) (string, error) {
	of := strings.ReplaceAll(a.Ends.String(), ",", " and ")
	if len(a.counts) == 0 && a.maybe == 0 {
		return "", fmt.Errorf("no: the history since %s has no connection of %s", stamp(since), of)
	}
	var parts []string
	part := func(outcome, one, many string) {
		if n := a.counts[outcome]; n > 0 {
			text := fmt.Sprintf(many, n)
			if n == 1 {
				text = one
			}
			parts = append(parts, text+", last at "+stamp(a.last[outcome]))
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
	return fmt.Sprintf("%s: of the connections of %s, %s", verdict, of, strings.Join(parts, "; ")), nil
}

// effect returns what the peers of destroyed sockets saw, if it was the same for all.
func (a *Answer) effect() string {
	switch {
	case len(a.states) != 1:
		return ""
	case a.states[inetdiag.CloseWait] > 0:
		return " in CLOSE_WAIT (the peer's next recv returns ECONNRESET, the owner's send ECONNABORTED)"
	}
	return " in FIN_WAIT2 (the peer's next recv returns EOF, its send EPIPE, the owner's recv ECONNABORTED)"
}
