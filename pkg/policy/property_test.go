// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
)

// judged has all arguments of Judge.
type judged struct {
	policies []policy.Policy
	history  policy.History
	socket   *inetdiag.Socket
	facts    policy.Facts
	now      monotime.Time
}

func (j *judged) judge() policy.Verdict {
	return policy.Judge(j.policies, &j.history, j.socket, j.facts, j.now)
}

// clone returns a deep copy of j.
func (j *judged) clone() *judged {
	c := *j
	c.policies = slices.Clone(j.policies)
	for i := range c.policies {
		c.policies[i].Exempt = slices.Clone(c.policies[i].Exempt)
		c.policies[i].Rules = slices.Clone(c.policies[i].Rules)
	}
	c.facts.Owners = slices.Clone(j.facts.Owners)
	c.socket = new(*j.socket)
	return &c
}

// random generates policies, rules and sockets of few kinds, so that they often match.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, seed))} }

func oneOf[T any](r random, all ...T) T { return all[r.IntN(len(all))] }

func maybe[T any](r random, value func() T) *T {
	if r.IntN(3) > 0 {
		return nil
	}
	return new(value())
}

func (r random) patience() policy.Patience {
	return oneOf(r, policy.Never, second, 5*second, 20*second, 40*second, 100*second, 0)
}

func (r random) mode() policy.Mode {
	return oneOf(r, policy.Destroy, policy.Destroy, policy.Observe, policy.Off)
}
func (r random) clock() policy.Clock { return oneOf(r, policy.ClockProgress, policy.ClockState) }
func (r random) command() string     { return oneOf(r, "a", "b", "c") }

func (r random) match() policy.Match {
	var m policy.Match
	for m.Equal(policy.Match{}) {
		m.State = oneOf(r, 0, 0, inetdiag.CloseWait, inetdiag.FinWait2)
		m.Role = oneOf(r, policy.RoleUnknown, policy.RoleUnknown, policy.RoleClient, policy.RoleServer)
		m.LocalPorts = oneOf(r, nil, nil, nil, ports("8080"), ports("22"))
		m.UIDs = oneOf(r, nil, nil, nil, []policy.UIDRange{{0, 0}}, []policy.UIDRange{{1, 9}})
		m.Commands = oneOf(r, nil, nil, []string{r.command()}, []string{r.command(), r.command()})
	}
	return m
}

func (r random) matches() []policy.Match {
	var all []policy.Match
	for range r.IntN(3) {
		all = append(all, r.match())
	}
	return all
}

func (r random) policy() policy.Policy {
	p := policy.Policy{
		Mode: r.mode(), CloseWaitGrace: r.patience(), FinWait2Grace: r.patience(), ProbeAfter: r.patience(), PendingGrace: r.patience(),
		ProbeCount: 1 + r.IntN(9), ProbeInterval: time.Duration(1+r.IntN(9)) * time.Second, Clock: r.clock(),
	}
	if r.IntN(3) == 0 {
		p.Exempt = r.matches()
	}
	for range r.IntN(5) {
		p.Rules = append(p.Rules, policy.Rule{Match: r.match(), Values: policy.Values{
			Mode: maybe(r, r.mode), Grace: maybe(r, r.patience), CloseWaitGrace: maybe(r, r.patience), FinWait2Grace: maybe(r, r.patience),
			ProbeAfter: maybe(r, r.patience), PendingGrace: maybe(r, r.patience), Clock: maybe(r, r.clock),
			Above: maybe(r, func() int { return 1 + r.IntN(9) }), AskSigpipe: maybe(r, func() bool { return r.IntN(2) == 0 }),
		}})
	}
	return p
}

func (r random) moment() monotime.Time { return at(float64(r.IntN(240)) / 2) }

func (r random) judged() *judged {
	j := &judged{now: r.moment()}
	for range 1 + r.IntN(3) {
		j.policies = append(j.policies, r.policy())
	}
	j.socket = closeWait(0, func(s *inetdiag.Socket) {
		s.UID, s.RQueue, s.WQueue = oneOf(r, uint32(0), 5), oneOf(r, uint32(0), 0, 1, 9), oneOf(r, uint32(0), 0, 0, 9)
		s.ULP = oneOf(r, "", "", "", "tls")
	})
	if r.IntN(2) == 0 {
		finWait2(j.socket)
	}
	since := r.moment()
	j.history = policy.History{
		ID: j.socket.ID, State: j.socket.State, Owned: true, Since: since, Start: max(since, r.moment()), Asks: uint8(r.IntN(4)),
		Role: oneOf(r, policy.RoleUnknown, policy.RoleClient, policy.RoleServer), Last: j.now,
	}
	if r.IntN(3) == 0 {
		j.history.Progress = max(since, r.moment())
	}
	if j.history.Asks > 0 {
		j.history.AllAsks, j.history.Asked = j.history.Asks+uint8(r.IntN(3)), r.moment()
	}
	if j.history.Asks > 0 && r.IntN(2) == 0 {
		j.history.PeerAlive = r.moment()
	}
	if r.IntN(4) == 0 {
		j.history.AddFrozen(time.Duration(r.IntN(50)) * time.Second)
	}
	j.facts.OwnersKnown = r.IntN(4) > 0
	if j.facts.OwnersKnown {
		j.facts.OwnersComplete = r.IntN(3) > 0
		for range r.IntN(4) {
			j.facts.Owners = append(j.facts.Owners, policy.Owner{Command: r.command(), Frozen: r.IntN(8) == 0})
		}
	}
	return j
}

// longer raises a patience.
func (r random) longer(p *policy.Patience) {
	if *p != policy.Never && *p != 0 {
		*p = oneOf(r, policy.Never, *p+second, *p*3)
	}
}

// moreConservative changes one argument in a way that must make no verdict less conservative. It returns the result and
// the name of the change.
func (r random) moreConservative(j *judged) (changed *judged, what string) {
	c := j.clone()
	p := &c.policies[r.IntN(len(c.policies))]
	frozen := len(c.facts.Owners) > 0 && !slices.ContainsFunc(c.facts.Owners, func(o policy.Owner) bool { return !o.Frozen })
	// Choose which values of a rule to change before copying them.
	values := func(change func(v *policy.Values)) {
		if len(p.Rules) > 0 {
			change(&p.Rules[r.IntN(len(p.Rules))].Values)
		}
	}
	switch r.IntN(20) {
	case 0:
		c.policies = append(c.policies, r.policy())
		return c, "a policy more"
	case 1:
		c.history.Role, c.facts.Role = policy.RoleUnknown, policy.RoleUnknown
		return c, "an unknown role"
	case 2:
		if !frozen { // owners that are not found count as running
			c.facts.Owners, c.facts.OwnersKnown, c.facts.OwnersComplete = nil, c.facts.OwnersKnown && r.IntN(2) == 0, false
		}
		return c, "unknown owners"
	case 3:
		if len(c.facts.Owners) > 0 && !frozen { // an owner that runs is not unknown: it can act
			c.facts.Owners = append(c.facts.Owners, policy.Owner{Command: r.command()})
		}
		return c, "an owner more"
	case 4:
		r.longer(oneOf(r, &p.CloseWaitGrace, &p.FinWait2Grace, &p.ProbeAfter, &p.PendingGrace))
		return c, "a longer patience"
	case 5:
		values(func(v *policy.Values) {
			for _, to := range []**policy.Patience{&v.Grace, &v.CloseWaitGrace, &v.FinWait2Grace, &v.ProbeAfter, &v.PendingGrace} {
				if *to != nil && r.IntN(2) == 0 {
					*to = new(**to)
					r.longer(*to)
				}
			}
		})
		return c, "a longer patience in a rule"
	case 6:
		p.Mode = policy.MostConservative(p.Mode, r.mode())
		return c, "a mode nearer to off"
	case 7:
		values(func(v *policy.Values) {
			if v.Mode != nil {
				v.Mode = new(policy.MostConservative(*v.Mode, r.mode()))
			}
		})
		return c, "a mode nearer to off in a rule"
	case 8:
		p.Exempt = slices.Insert(p.Exempt, r.IntN(len(p.Exempt)+1), r.match())
		return c, "an exemption more"
	case 9:
		p.Clock = policy.ClockProgress
		return c, "clock progress"
	case 10:
		values(func(v *policy.Values) {
			if v.Clock != nil {
				v.Clock = new(policy.ClockProgress)
			}
		})
		return c, "clock progress in a rule"
	case 11:
		c.facts.OwnersComplete = false
		return c, "owners that may not be all"
	case 12:
		c.socket.RQueue += 9
		return c, "more unread bytes"
	case 13:
		c.socket.WQueue += 9
		return c, "more unacknowledged bytes"
	case 14:
		c.history.Progress = max(c.history.Progress, c.history.Start, r.moment())
		return c, "later progress"
	case 15:
		c.history.Since = max(c.history.Since, r.moment())
		c.history.Start = max(c.history.Start, c.history.Since)
		if c.history.Progress != 0 {
			c.history.Progress = max(c.history.Progress, c.history.Since)
		}
		return c, "a later start"
	case 16:
		c.history.AddFrozen(time.Duration(1+r.IntN(50)) * time.Second)
		return c, "more frozen time"
	case 17:
		if c.socket.ULP == "" {
			c.socket.ULP = "tls"
		}
		return c, "kernel TLS"
	case 18:
		values(func(v *policy.Values) {
			if v.AskSigpipe != nil {
				v.AskSigpipe = new(false)
			}
		})
		return c, "no permission to ask an owner that dies of SIGPIPE"
	default:
		for i := range c.facts.Owners {
			c.facts.Owners[i].Frozen = true
		}
		return c, "frozen owners"
	}
}

// checkConservative fails if a more conservative input gives a less conservative verdict.
func checkConservative(t *testing.T, seed uint64) {
	t.Helper()
	r := newRandom(seed)
	j := r.judged()
	for range 3 {
		c, what := r.moreConservative(j)
		before, after := j.judge(), c.judge()
		checkVerdict(t, seed, c, &after)
		if j.facts.OwnersKnown && !c.facts.OwnersKnown {
			// No action comes before the owners have been looked up, as checkVerdict checks. Until then the sentence is
			// the same as for running owners.
			j = c
			continue
		}
		if after.Act < before.Act || after.AskAt.Before(before.AskAt) || after.EndAt.Before(before.EndAt) {
			t.Errorf("seed %d: %s: act %v, ask at %d, end at %d became %v, %d, %d\nbefore %+v\nafter %+v",
				seed, what, before.Act, before.AskAt, before.EndAt, after.Act, after.AskAt, after.EndAt, j, c)
		}
		if before.Standing != policy.StandingNone && after.Standing == policy.StandingNone {
			t.Errorf("seed %d: %s: its other end is no longer spared: %v\nbefore %+v\nafter %+v", seed, what, before.Standing, j, c)
		}
		if after.ProbeAfter < before.ProbeAfter || after.ProbeCount < before.ProbeCount || after.ProbeInterval < before.ProbeInterval ||
			after.AskSigpipe && !before.AskSigpipe {
			t.Errorf("seed %d: %s: its peer is asked with less patience\nbefore %+v\nafter %+v", seed, what, before, after)
		}
		j = c
	}
}

// checkVerdict fails if a verdict contradicts itself.
func checkVerdict(t *testing.T, seed uint64, j *judged, v *policy.Verdict) {
	t.Helper()
	due := v.Act == policy.Destroy && !j.now.Before(v.EndAt)
	if v.Destroy() && (!due || !j.facts.OwnersKnown) {
		t.Errorf("seed %d: destroyed though it is not due or its owners were not looked for: %+v", seed, v)
	}
	if v.Ask && (v.Act != policy.Destroy || j.now.Before(v.AskAt) || !j.facts.OwnersKnown) {
		t.Errorf("seed %d: asked though it is not due or its owners were not looked for: %+v", seed, v)
	}
	if !v.Again.IsZero() && !j.now.Before(v.Again) {
		t.Errorf("seed %d: to be looked at again at once: %+v", seed, v)
	}
	if policy.Explain(v, j.policies, &j.history, j.socket, j.now) == "" {
		t.Errorf("seed %d: no explanation: %+v", seed, v)
	}
}

func TestMoreConservativeInputNeverGivesALessConservativeVerdict(t *testing.T) {
	for seed := range uint64(6000) {
		if checkConservative(t, seed); t.Failed() {
			return
		}
	}
}

func FuzzConservative(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(checkConservative)
}

// TestIneligibleSocketsAreNeitherDestroyedNorAskedAbout takes from a socket each fact without which it is not judged.
func TestIneligibleSocketsAreNeitherDestroyedNorAskedAbout(t *testing.T) {
	for name, change := range map[string]func(j *judged){
		"without tcp_info":          func(j *judged) { j.socket.HasInfo = false },
		"without an owner":          func(j *judged) { j.socket.Inode = 0 },
		"of MPTCP":                  func(j *judged) { j.socket.ULP = "mptcp" },
		"established":               func(j *judged) { j.socket.State = inetdiag.Established },
		"in TIME_WAIT":              func(j *judged) { j.socket.State = inetdiag.TimeWait },
		"without a policy":          func(j *judged) { j.policies = nil },
		"with a policy of no value": func(j *judged) { j.policies = append(j.policies, policy.Policy{}) },
	} {
		for seed := range uint64(500) {
			j := newRandom(seed).judged()
			change(j)
			if v := j.judge(); v.Destroy() || v.Ask || v.NeedsOwners {
				t.Fatalf("seed %d, %s: %+v", seed, name, v)
			}
		}
	}
}

// TestACapNeverMakesAVerdictLessConservative caps verdicts as the reaper's --mode and the switches do.
func TestACapNeverMakesAVerdictLessConservative(t *testing.T) {
	modes := []policy.Mode{policy.Destroy, policy.Observe, policy.Off, 0}
	for seed := range uint64(3000) {
		v := newRandom(seed).judged().judge()
		for _, a := range modes {
			once := v.Capped(a)
			if a != policy.Destroy && (once.Destroy() || once.Ask) {
				t.Fatalf("seed %d: capped at %v: %+v", seed, a, once)
			}
			if once.Act < v.Act || once.AskAt.Before(v.AskAt) || once.EndAt.Before(v.EndAt) || once.Destroy() && !v.Destroy() || once.Ask && !v.Ask ||
				once.Standing == policy.StandingNone && v.Standing != policy.StandingNone {
				t.Fatalf("seed %d: capped at %v: %+v became %+v", seed, a, v, once)
			}
			for _, b := range modes {
				if one, other := once.Capped(b).Act, v.Capped(policy.MostConservative(a, b)).Act; one != other {
					t.Fatalf("seed %d: capped at %v and then at %v the act is %v, capped at both %v", seed, a, b, one, other)
				}
			}
		}
	}
}

// TestKnownOwnersNeverMakeASocketDueThatNeedsNone compares the verdict on unknown owners with that on any owner.
func TestKnownOwnersNeverMakeASocketDueThatNeedsNone(t *testing.T) {
	for seed := range uint64(6000) {
		r := newRandom(seed)
		j := r.judged()
		j.facts.Owners, j.facts.OwnersKnown = nil, false
		unknown := j.judge()
		for _, command := range []string{"a", "b", "c", "other"} {
			j.facts = policy.Facts{OwnersKnown: true, OwnersComplete: true, Owners: []policy.Owner{{Command: command}}}
			known := j.judge()
			due := known.Act != policy.Off && (!j.now.Before(known.EndAt) || !j.now.Before(known.AskAt))
			if due && !unknown.NeedsOwners {
				t.Fatalf("seed %d: due with owner %s, but the owners are not looked for\n%+v\n%+v", seed, command, unknown, known)
			}
			next := min(known.AskAt, known.EndAt)
			if known.Act != policy.Off && !due && !unknown.NeedsOwners && next != policy.Forever && (unknown.Again.IsZero() || next.Before(unknown.Again)) {
				t.Fatalf("seed %d: with owner %s due at %v, but looked at again at %v", seed, command, next, unknown.Again)
			}
		}
	}
}

func TestJoinIsCommutativeAssociativeAndIdempotent(t *testing.T) {
	for seed := range uint64(1500) {
		r := newRandom(seed)
		j := r.judged()
		sentence := func() policy.Sentence {
			j.policies = []policy.Policy{r.policy()}
			return j.judge().Sentence
		}
		a, b, c := sentence(), sentence(), sentence()
		if diff := cmp.Diff(policy.Join(a, b), policy.Join(b, a)); diff != "" {
			t.Fatalf("seed %d: not commutative:\n%s", seed, diff)
		}
		if diff := cmp.Diff(policy.Join(policy.Join(a, b), c), policy.Join(a, policy.Join(b, c))); diff != "" {
			t.Fatalf("seed %d: not associative:\n%s", seed, diff)
		}
		if diff := cmp.Diff(a, policy.Join(a, a)); diff != "" {
			t.Fatalf("seed %d: not idempotent:\n%s", seed, diff)
		}
	}
}

func TestOrderOfThePoliciesHasNoEffect(t *testing.T) {
	for seed := range uint64(2000) {
		r := newRandom(seed)
		j := r.judged()
		one := j.judge()
		slices.Reverse(j.policies)
		other := j.judge()
		if one.Act != other.Act || one.AskAt != other.AskAt || one.EndAt != other.EndAt || one.Ask != other.Ask ||
			one.NeedsOwners != other.NeedsOwners || one.Deadline != other.Deadline || one.Destroy() != other.Destroy() {
			t.Fatalf("seed %d:\n%+v\n%+v", seed, one, other)
		}
	}
}
