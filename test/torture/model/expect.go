// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"
	"time"
)

// reading is one way to read the uncertain facts of a moment.
type reading int

const (
	permissive   reading = iota // whatever makes an end legal
	conservative                // whatever delays an end
)

// Expect returns what the model allows and requires of a socket.
func (r *Run) Expect(s *Socket) Expectation {
	x := Expectation{Latest: Forever, Earliest: Forever}
	var must, mustCounted, mustAsk []Interval
	points := r.breakpoints(s)
	for i, from := range points {
		to := Forever
		if i+1 < len(points) {
			to = points[i+1]
		}
		if j, ok := r.judge(s, from, permissive); ok {
			x.Above = max(x.Above, j.above)
		}
		if at := r.mayEnd(s, from); at < to {
			x.Destroy = append(x.Destroy, Interval{max(from, at), to})
		}
		if at := r.mayAsk(s, from); at < to {
			x.Question = append(x.Question, Interval{max(from, at), to})
		}
		if at, above := r.mustEnd(s, from); at < to && above == 0 {
			must = append(must, Interval{max(from, at), to})
		} else if at < to {
			mustCounted = append(mustCounted, Interval{max(from, at), to})
		}
		if at, _ := r.mustAsk(s, from); at < to {
			mustAsk = append(mustAsk, Interval{max(from, at), to})
		}
	}
	x.Destroy, x.Question = joined(x.Destroy), joined(x.Question)
	x.Latest = min(r.served(joined(must), r.Bounds.Reaction), r.served(joined(mustAsk), r.Bounds.Reaction+r.Bounds.Answer))
	x.LatestCounted = r.served(joined(mustCounted), r.Bounds.Reaction)
	if len(x.Destroy) > 0 {
		x.Earliest = x.Destroy[0].From
	}
	for _, q := range x.Question {
		if gone, ok := r.possiblyGone(s, q.To); ok {
			x.Earliest = min(x.Earliest, max(q.From, gone))
		}
	}
	return x
}

// served returns the earliest time by which an obligation that holds without a break must have been met.
func (r *Run) served(obligations []Interval, bound time.Duration) Time {
	for _, o := range obligations {
		at := o.From
		for left := bound; left > 0; { // stalled time does not count
			at = plus(at, left)
			if at > o.To {
				break
			}
			left = r.stalled(at-left, at)
		}
		if at <= o.To {
			return at
		}
	}
	return Forever
}

func (r *Run) stalled(from, to Time) time.Duration {
	if r.Stalled == nil {
		return 0
	}
	return min(r.Stalled(from, to), to-from)
}

// breakpoints returns the times between which nothing changes.
func (r *Run) breakpoints(s *Socket) []Time {
	var all []Time
	add := func(times ...Time) {
		for _, t := range times {
			if t < Forever {
				all = append(all, max(t, 0))
			}
		}
	}
	for _, e := range s.Events {
		add(e.Span.Before, e.Span.After, e.Span.After+r.staleness(e.Span.After), e.Span.After+ownersAge)
	}
	ns := r.Namespaces[s.Netns]
	if ns != nil {
		for _, changes := range ns.Attachments {
			for _, c := range changes {
				add(c.Span.Before, r.arrived(ns.Name, c.Span.After))
			}
		}
	}
	for i := range r.Effects {
		if e := &r.Effects[i]; e.affects(s.Netns) {
			add(e.Since, e.From, e.To, e.Until, r.recovered(e))
		}
	}
	if p := s.Partner; p != nil {
		for _, e := range p.Events {
			add(e.Span.Before, e.Span.After, e.Span.After+ownersAge, e.Span.After+r.Bounds.Thaw)
		}
		if p.End != nil {
			add(p.End.From, p.End.To, r.looked(p.Netns, p.End.To))
		}
	}
	add(s.Until)
	slices.Sort(all)
	return slices.Compact(all)
}

// arrived returns the time at which a running reaper surely knows of a change that was made by then.
func (r *Run) arrived(netns string, after Time) Time {
	at := plus(after, r.Bounds.Propagation)
	for i := range r.Effects { // a reaper that was stopped learns of it later
		if e := &r.Effects[i]; e.Kind == Down && e.affects(netns) && e.Since <= at && after <= e.Until {
			at = max(at, plus(e.Until, r.Bounds.Propagation))
		}
	}
	return at
}

// recovered returns the time at which a finder that was down until the end of an effect surely looks again.
func (r *Run) recovered(e *Effect) Time { return e.Until }

// snapshot is what is known of a socket at a moment, by one reading.
type snapshot struct {
	facts  facts
	begins begins
	ok     bool // false: no end is legal, or none is required
}

// at returns the snapshot of a socket right after a breakpoint.
func (r *Run) at(s *Socket, now Time, how reading) snapshot {
	if now >= s.Until || !r.registered(s.Netns, now, how) {
		return snapshot{}
	}
	var (
		x        = snapshot{facts: facts{socket: s}}
		accepted = s.Accepted
		frozen   time.Duration // since the begin
		since    Time
		thawed   = true
		freeze   Time
		found    Time // when the finder has surely seen the last byte
	)
	noticed := func(span Span) Time { // the begin of an idle time that this event starts
		if how == permissive {
			return span.Before
		}
		return r.looked(s.Netns, span.After)
	}
	happened := func(span Span) bool { // whether an event that protects the socket counts
		if how == permissive {
			return span.After+r.staleness(span.After) <= now
		}
		return span.Before <= now
	}
	exposed := func(span Span) bool { // whether an event that exposes it counts
		if how == permissive {
			return span.Before <= now
		}
		return span.After <= now
	}
	for _, e := range s.Events {
		switch e.Kind {
		case HalfClosed:
			if !exposed(e.Span) {
				continue
			}
			x.ok, x.facts.state, x.facts.unread = true, e.State, e.Unread > 0
			since = e.Span.Before
			x.begins.progress = noticed(e.Span)
			frozen, found = 0, r.looked(s.Netns, e.Span.After)
		case Accepted:
			if exposed(e.Span) {
				accepted = true
				if how == conservative || !r.mayHaveRestarted(s.Netns, since, now) {
					since = e.Span.Before // a new reaper knows only when the last segment came
				}
				x.begins.progress, frozen = noticed(e.Span), 0
				found = r.looked(s.Netns, e.Span.After)
			}
		case Progress, Wrote:
			if happened(e.Span) {
				x.begins.progress, frozen = max(x.begins.progress, noticed(e.Span)), 0
				found = r.looked(s.Netns, e.Span.After)
				x.facts.unacked = e.Kind == Wrote
			}
			if how == permissive && e.Unread > 0 && e.Span.Before <= now && now < e.Span.After {
				continue // it may not have been read yet, or it may
			}
			if e.Span.Before <= now {
				x.facts.unread = e.Unread > 0
			}
		case Frozen:
			if how == permissive && e.Span.After+ownersAge <= now || how == conservative && e.Span.Before <= now {
				thawed, freeze = false, e.Span.After
			}
		case Thawed:
			if !exposed(e.Span) || thawed {
				continue
			}
			thawed = true
			if how == conservative {
				x.begins.progress, frozen = max(x.begins.progress, r.looked(s.Netns, e.Span.After+r.Bounds.Thaw)), 0
			} else if e.Span.Before-max(freeze, found) > r.unnoticed(s.Netns) {
				frozen += max(e.Span.Before-max(freeze, x.begins.progress), 0)
			}
		case Closed:
			if e.Span.Before <= now {
				x.ok = false
			}
		}
	}
	if !x.ok || !accepted || !thawed {
		return snapshot{}
	}
	x.facts.ownersIncomplete = r.OwnersIncomplete && how == conservative
	x.facts.pending = x.facts.unread || x.facts.unacked
	registered := r.firstRegistered(s.Netns)
	start := registered.Before
	if how == conservative {
		start = r.looked(s.Netns, plus(registered.After, r.Bounds.Propagation))
		since = max(since, x.begins.progress) // the kernel may prove no earlier time
	}
	x.begins.progress = max(x.begins.progress, start)
	for i := range r.Effects {
		if e := &r.Effects[i]; e.affects(s.Netns) && e.Since <= now && how == conservative {
			switch e.Kind {
			case AgesMayRestart:
				if since <= e.Until { // the peer's answer to a question is the last segment that the kernel knows of
					since = r.looked(s.Netns, e.Until)
					x.begins.progress = max(x.begins.progress, since)
				}
			case RoleUnknown:
				x.facts.roleUnknown = x.facts.roleUnknown || e.possible(now)
			}
		} else if e.Kind == RoleUnknown && e.affects(s.Netns) && e.From <= since && e.To > now && !r.mayKnowRoles(s.Netns, now) {
			x.facts.roleUnknown = true
		}
	}
	if x.facts.roleUnknown && s.Role == Server {
		x.facts.roleUnknown = false // its listener is there
	}
	if s.Binds && how == conservative { // the kernel proves no role of most sockets that were bound
		x.facts.roleUnknown = true
	}
	x.begins.progress += frozen
	x.begins.state = since + frozen
	if how == permissive {
		x.begins.state -= tick
	}
	return x
}

// mayKnowRoles reports whether a finder may have proven roles by a time.
func (r *Run) mayKnowRoles(netns string, at Time) bool {
	return slices.ContainsFunc(r.Effects, func(e Effect) bool { return e.Kind == RoleKnown && e.affects(netns) && e.Since <= at })
}

// ownersAge is the age of the owners' state by which a socket may still be destroyed.
const ownersAge = 150 * time.Millisecond

// tick is the resolution of the kernel's time of the last segment, from which the clock "state" may count.
const tick = 10 * time.Millisecond

// mayHaveRestarted reports whether ages may have been lost between two times.
func (r *Run) mayHaveRestarted(netns string, from, to Time) bool {
	return slices.ContainsFunc(r.Effects, func(e Effect) bool {
		return e.Kind == AgesMayRestart && e.affects(netns) && e.Until >= from && e.Since <= to
	})
}

// staleness returns the largest age of what the reaper knows of a socket when it destroys it. A reaper that could not run asks again, but
// at most for 100 ms.
func (r *Run) staleness(at Time) time.Duration {
	const most = 100 * time.Millisecond
	return r.Bounds.LookAge + min(r.stalled(at-most, at+most), most)
}

// looked returns the time by which the finder has looked at a socket of the namespace after t.
func (r *Run) looked(netns string, t Time) Time {
	at := plus(t, r.interval(netns))
	for i := range r.Effects { // it did not look while it was down
		if e := &r.Effects[i]; e.Kind == Down && e.affects(netns) && e.Since <= at && t <= e.Until {
			at = max(at, plus(e.Until, r.interval(netns)))
		}
	}
	return at + r.stalled(t, at)
}

// interval returns the longest time between two looks of a finder: a quarter of the shortest grace, a second at least. Without a
// grace a byte is noticed when the peer would be asked. The longest of several attachments counts, and of several policies in
// their time.
func (r *Run) interval(netns string) time.Duration {
	longest := time.Second
	for _, changes := range r.Namespaces[netns].Attachments {
		for _, c := range changes {
			if c.Policy == nil {
				continue
			}
			every := c.Policy.shortestGrace() / 4
			if c.Policy.ProbeAfter != Never {
				every = min(every, c.Policy.ProbeAfter)
			}
			longest = max(longest, min(every, time.Minute))
		}
	}
	return longest
}

// unnoticed returns for how long an owner may be frozen without notice: few kernels count the frozen time, and the time between two
// readings of the owners' states counts as idle only if they are at most half of the patience and ten seconds apart.
func (r *Run) unnoticed(netns string) time.Duration {
	var longest time.Duration
	for _, changes := range r.Namespaces[netns].Attachments {
		for _, c := range changes {
			if c.Policy != nil {
				longest = max(longest, c.Policy.longestPatience())
			}
		}
	}
	return longest/2 + 10*time.Second + r.Bounds.Reaction
}

// longestPatience returns the longest patience that ends.
func (p *Policy) longestPatience() (longest time.Duration) {
	add := func(d *time.Duration) {
		if d != nil && *d != Never {
			longest = max(longest, *d)
		}
	}
	add(&p.CloseWaitGrace)
	add(&p.FinWait2Grace)
	add(&p.PendingGrace)
	for _, rule := range p.Rules {
		add(rule.Layer.CloseWaitGrace)
		add(rule.Layer.FinWait2Grace)
		add(rule.Layer.PendingGrace)
	}
	return longest
}

func (p *Policy) shortestGrace() time.Duration {
	shortest := min(p.CloseWaitGrace, p.FinWait2Grace)
	for _, r := range p.Rules {
		for _, g := range []*time.Duration{r.Layer.CloseWaitGrace, r.Layer.FinWait2Grace} {
			if g != nil {
				shortest = min(shortest, *g)
			}
		}
	}
	return shortest
}

func (r *Run) firstRegistered(netns string) Span {
	first := Span{Forever, Forever}
	for _, changes := range r.Namespaces[netns].Attachments {
		if len(changes) > 0 && changes[0].Span.Before < first.Before {
			first = changes[0].Span
		}
	}
	return first
}

// registered reports whether the namespace has an attachment.
func (r *Run) registered(netns string, now Time, how reading) bool {
	ns := r.Namespaces[netns]
	if ns == nil {
		return false
	}
	for _, changes := range ns.Attachments {
		policies := r.policies(netns, changes, now)
		none := slices.Contains(policies, nil)
		if !none || how == permissive && len(policies) > 1 {
			return true
		}
	}
	return false
}

// policies returns the policies that an attachment may have at a time: nil is none.
func (r *Run) policies(netns string, changes []Change, now Time) []*Policy {
	current := []*Policy{nil}
	for _, c := range changes {
		switch {
		case now < c.Span.Before:
			return r.layered(netns, current, now)
		case now < r.arrived(netns, c.Span.After):
			current = append(current, c.Policy)
		default:
			current = []*Policy{c.Policy}
		}
	}
	return r.layered(netns, current, now)
}

// layered adds the layers of effects.
func (r *Run) layered(netns string, policies []*Policy, now Time) []*Policy {
	for i := range r.Effects {
		e := &r.Effects[i]
		if e.Kind != Layered || !e.affects(netns) || !e.possible(now) && !e.certain(now) {
			continue
		}
		var with []*Policy
		for _, p := range policies {
			if p != nil {
				changed := p.With(e.Layer)
				p = &changed
			}
			with = append(with, p)
		}
		if e.certain(now) {
			policies = with
		} else {
			policies = append(slices.Clone(policies), with...)
		}
	}
	return policies
}

// is reports whether an effect of the kind counts at a time: if it is certain or, for the conservative reading, possible.
func (r *Run) is(kind Kind, netns string, now Time, how reading) bool {
	for i := range r.Effects {
		e := &r.Effects[i]
		if e.Kind == kind && e.affects(netns) && (e.certain(now) || how == conservative && e.possible(now)) {
			return true
		}
	}
	return false
}

// mayEnd returns the time from which a destroy is legal, if nothing changes after now.
func (r *Run) mayEnd(s *Socket, now Time) Time {
	j, ok := r.judge(s, now, permissive)
	if !ok || j.mode != Destroy {
		return Forever
	}
	return max(j.end, r.sparedUntil(s, now, permissive))
}

// mustEnd returns the time from which a destroy is required, if nothing changes after now, and the number of sockets that the
// rule keeps.
func (r *Run) mustEnd(s *Socket, now Time) (at Time, above int) {
	j, ok := r.judge(s, now, conservative)
	if !ok || j.mode != Destroy {
		return Forever, 0
	}
	return max(j.end, r.sparedUntil(s, now, conservative)), j.above
}

// mayAsk returns the time from which a question to the peer is legal.
func (r *Run) mayAsk(s *Socket, now Time) Time {
	j, ok := r.judge(s, now, permissive)
	if !ok || j.mode != Destroy {
		return Forever
	}
	return max(j.ask, r.sparedUntil(s, now, permissive))
}

// judge joins the sentences of all attachments.
func (r *Run) judge(s *Socket, now Time, how reading) (sentence, bool) {
	x := r.at(s, now, how)
	if !x.ok || r.is(Observed, s.Netns, now, how) {
		return sentence{}, false
	}
	if how == conservative && (r.is(Down, s.Netns, now, how) || r.is(PolicyUncertain, s.Netns, now, how)) {
		return sentence{}, false
	}
	var all, optional []sentence // optional: of attachments that may not be there
	for _, changes := range r.Namespaces[s.Netns].Attachments {
		var of []sentence
		policies := r.policies(s.Netns, changes, now)
		for _, p := range policies {
			if p != nil {
				of = append(of, sentenceOf(p, x.facts, x.begins, r.Bounds.MinGrace))
			}
		}
		if len(of) == 0 {
			continue
		}
		one := of[0]
		for _, o := range of[1:] {
			if how == conservative {
				one = one.join(o)
			} else {
				one = one.relax(o)
			}
		}
		if how == permissive && slices.Contains(policies, nil) {
			optional = append(optional, one)
		} else {
			all = append(all, one)
		}
	}
	if len(all) == 0 && len(optional) > 0 { // one of them is there, or the namespace would not be registered
		one := optional[0]
		for _, o := range optional[1:] {
			one = one.relax(o)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return sentence{}, false
	}
	joined := all[0]
	for _, o := range all[1:] {
		joined = joined.join(o)
	}
	return joined, true
}

// relax returns the less conservative of each component.
func (s sentence) relax(o sentence) sentence {
	s.mode, s.ask, s.end, s.above = max(s.mode, o.mode), min(s.ask, o.ask), min(s.end, o.end), min(s.above, o.above)
	s.probes, s.probeSpacing = max(s.probes, o.probes), max(s.probeSpacing, o.probeSpacing)
	return s
}

// joined merges intervals that touch.
func joined(all []Interval) []Interval {
	var merged []Interval
	for _, i := range all {
		if n := len(merged); n > 0 && i.From <= merged[n-1].To {
			merged[n-1].To = max(merged[n-1].To, i.To)
			continue
		}
		merged = append(merged, i)
	}
	return merged
}
