// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"cmp"
	"slices"

	"github.com/halfclose/halfclose/test/torture/model"
)

// group is the sockets of a rule with a count.
type group struct {
	netns string
	port  uint16
}

// member is one of them.
type member struct {
	socket *model.Socket
	expect model.Expectation
}

// count expects of the sockets of a rule with a count that the ones idle longest end, until the rule's number is left.
func count(run *model.Run, members []member) []member {
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.expect.Earliest, b.expect.Earliest) })
	for i := range members {
		m := &members[i]
		younger := members[i+1:]
		if disordered(run, m.socket) {
			continue // an idle time may have begun again, and changed the order
		}
		// As many younger ones past their grace are needed as the rule keeps.
		keep := m.expect.Above
		if len(younger) < keep {
			m.expect.Destroy, m.expect.Earliest = nil, model.Forever
			continue
		}
		from, by := younger[keep-1].expect.Earliest, m.expect.LatestCounted
		for _, y := range younger[:keep] {
			by = max(by, y.expect.LatestCounted)
		}
		m.expect.Latest, m.expect.Earliest = by, max(m.expect.Earliest, from)
		var allowed []model.Interval
		for _, d := range m.expect.Destroy {
			if d.To > from {
				allowed = append(allowed, model.Interval{From: max(d.From, from), To: d.To})
			}
		}
		m.expect.Destroy = allowed
	}
	return members
}

// disordered reports whether an effect may have changed the order of the idle times in the namespace. After a thaw all idle times
// may begin together.
func disordered(run *model.Run, s *model.Socket) bool {
	if slices.ContainsFunc(s.Events, func(e model.Event) bool { return e.Kind == model.Frozen && e.Span.Before <= end(s) }) {
		return true
	}
	return slices.ContainsFunc(run.Effects, func(e model.Effect) bool {
		return (e.Kind == model.AgesMayRestart || e.Kind == model.Down) && (e.Netns == "" || e.Netns == s.Netns) &&
			e.Until >= s.Events[0].Span.Before && e.Since <= end(s)
	})
}
