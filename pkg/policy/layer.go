// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "fmt"

// A layer is what one place says of a policy. Layers lie on each other: built-in, network, annotations.
type layer struct {
	source              string // where its values come from, unless a setting says it more exactly
	mode                setting[Mode]
	grace               setting[Grace] // of both states, where the state has none of its own
	closeWait, finWait2 setting[Grace]
	clock               setting[Clock]
	pending             setting[PendingData]
	exempt              setting[exemptions]
}

// setting is one value of a layer.
type setting[T any] struct {
	value T
	named bool // the layer names it, perhaps with a value that is no good
	ok    bool // and the value is good
	from  string
}

// take keeps a good value, and remembers that there was a bad one.
func (s *setting[T]) take(v T, err error) error {
	s.named = true
	if err == nil {
		s.value, s.ok = v, true
	}
	return err
}

// or returns s, or other where the layer does not name s. A bad value does not fall back: whoever wrote it
// wanted something other than the rest of the layer says.
func (s setting[T]) or(other setting[T]) setting[T] {
	if s.named {
		return s
	}
	return other
}

// over returns the policy below with the layer on top, and notes in sources where each value came from.
// With refuse, values that are less careful than the ones below are handed to it and not taken, and
// exemptions are added to the ones below; without, every value replaces the one below.
func (l layer) over(below Policy, sources Sources, refuse func(key, from, want, have string)) Policy {
	t := top{sources: sources, source: l.source, refuse: refuse}
	closeWait, finWait2 := l.closeWait.or(l.grace), l.finWait2.or(l.grace)
	p := below
	p.Mode = put(t, keyMode, l.mode, p.Mode, l.mode.value >= MostCareful(p.Mode))
	p.CloseWaitGrace = put(t, keyCloseWaitGrace, closeWait, p.CloseWaitGrace, closeWait.value >= orNever(p.CloseWaitGrace))
	p.FinWait2Grace = put(t, keyFinWait2Grace, finWait2, p.FinWait2Grace, finWait2.value >= orNever(p.FinWait2Grace))
	p.Clock = put(t, keyClock, l.clock, p.Clock, moreCareful(l.clock.value, p.Clock) == l.clock.value)
	p.PendingData = put(t, keyPendingData, l.pending, p.PendingData, moreCareful(l.pending.value, p.PendingData) == l.pending.value)
	switch {
	case !l.exempt.ok:
	case refuse == nil || len(p.Exempt) == 0:
		p.Exempt = put(t, keyExempt, l.exempt, p.Exempt, true)
	case len(l.exempt.value) > 0:
		from := sources[keyExempt] + " and " + t.from(l.exempt.from)
		p.Exempt = union(p.Exempt, l.exempt.value)
		sources[keyExempt] = from
	}
	return p
}

// top is what putting a layer on a policy needs.
type top struct {
	sources Sources
	source  string
	refuse  func(key, from, want, have string)
}

func (t top) from(exact string) string {
	if exact != "" {
		return exact
	}
	return t.source
}

func put[T any](t top, key string, s setting[T], have T, careful bool) T {
	switch {
	case !s.ok:
		return have
	case t.refuse != nil && !careful:
		t.refuse(key, t.from(s.from), fmt.Sprint(s.value), fmt.Sprint(have))
		return have
	}
	t.sources[key] = t.from(s.from)
	return s.value
}
