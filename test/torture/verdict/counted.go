// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"cmp"
	"slices"
	"time"

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

// tie is the time within which two idle times may begin together: one sweep of the finder shows both sockets for the first time.
const tie = 2 * time.Second

// count expects of the sockets of a rule with a count that the ones idle longest end, until the rule's number is left.
func count(run *model.Run, members []member) []member {
	if slices.ContainsFunc(members, func(m member) bool { return disordered(run, m.socket) }) {
		return members // an idle time may have begun again, and changed the order
	}
	counted := make([]member, 0, len(members))
	for _, m := range members {
		keep := m.expect.Above
		var mayBeYounger, isYounger []model.Time // when they are past their grace, at the earliest and at the latest
		for _, o := range members {
			if o.socket == m.socket {
				continue
			}
			if o.expect.Earliest > m.expect.Earliest-tie {
				mayBeYounger = append(mayBeYounger, o.expect.Earliest)
			}
			if o.expect.Earliest > m.expect.Earliest+tie {
				isYounger = append(isYounger, o.expect.LatestCounted)
			}
		}
		slices.Sort(mayBeYounger)
		slices.Sort(isYounger)
		from := model.Forever
		if len(mayBeYounger) >= keep {
			from = mayBeYounger[keep-1]
		}
		if len(isYounger) >= keep {
			m.expect.Latest = max(m.expect.LatestCounted, isYounger[keep-1])
		}
		m.expect.Restrict(from)
		counted = append(counted, m)
	}
	spareSurplus(counted)
	return counted
}

// spareSurplus expects that a rule's number of sockets is left: the last ones that were destroyed beyond that had to stay.
func spareSurplus(members []member) {
	destroyed := slices.DeleteFunc(slices.Clone(members), func(m member) bool { return m.socket.End == nil || m.socket.End.How != model.Destroyed })
	slices.SortFunc(destroyed, func(a, b member) int { return cmp.Compare(a.socket.End.To, b.socket.End.To) })
	most := max(len(members)-members[0].expect.Above, 0)
	for _, d := range destroyed[min(most, len(destroyed)):] {
		i := slices.IndexFunc(members, func(m member) bool { return m.socket == d.socket })
		members[i].expect.Destroy = nil
	}
}

// disordered reports whether an effect may have changed the order of the idle times in the netns. After a thaw all idle times may
// begin together.
func disordered(run *model.Run, s *model.Socket) bool {
	if slices.ContainsFunc(s.Events, func(e model.Event) bool { return e.Kind == model.Frozen && e.Span.Before <= end(s) }) {
		return true
	}
	return slices.ContainsFunc(run.Effects, func(e model.Effect) bool {
		return (e.Kind == model.AgesMayRestart || e.Kind == model.Down) && (e.Netns == "" || e.Netns == s.Netns) &&
			e.Until >= s.Events[0].Span.Before && e.Since <= end(s)
	})
}
