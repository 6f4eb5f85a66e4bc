// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// Policy determines how long the half-closed sockets of one attachment may live, when their peers are asked, and which of
// them are exempt. Layers.Resolve returns policies. The zero Policy destroys nothing.
type Policy struct {
	Mode                     Mode
	CloseWaitGrace           Patience
	FinWait2Grace            Patience
	ProbeAfter, PendingGrace Patience
	ProbeCount               int
	ProbeInterval            time.Duration
	Clock                    Clock
	Exempt                   []Match // before the rules
	Rules                    []Rule  // the first match applies
	Sources                  Sources
}

// Default returns the policy of a network without any values.
func Default() Policy {
	return Policy{
		Mode:           Destroy,
		CloseWaitGrace: Patience(time.Hour),        // kube-proxy's conntrack forgets a CLOSE_WAIT after it
		FinWait2Grace:  Patience(time.Hour),        //
		ProbeAfter:     Patience(90 * time.Second), // past Linux peers' orphan timer of 60 s
		PendingGrace:   Patience(2 * time.Hour),    // net.ipv4.tcp_keepalive_time
		ProbeCount:     6,
		ProbeInterval:  10 * time.Second,
		Clock:          ClockProgress,
		Sources:        builtIn(),
	}
}

// Grace returns the base grace of CLOSE_WAIT or FIN_WAIT2, before any rule. It is Never for any other state.
func (p *Policy) Grace(s inetdiag.State) Patience {
	switch s {
	case inetdiag.CloseWait:
		return p.CloseWaitGrace.orNever()
	case inetdiag.FinWait2:
		return p.FinWait2Grace.orNever()
	default:
		return Never
	}
}

// terms are the values that apply to one socket.
type terms struct {
	mode                            Mode
	grace, probeAfter, pendingGrace Patience
	clock                           Clock
	askSigpipe                      bool
}

// terms returns the values for a socket in state s, with a rule's values on top; r may be nil.
func (p *Policy) terms(r *Rule, s inetdiag.State) terms {
	t := terms{
		mode: MostConservative(p.Mode), grace: p.Grace(s),
		probeAfter: p.ProbeAfter.orNever(), pendingGrace: p.PendingGrace.orNever(), clock: p.Clock,
	}
	if r == nil {
		return t
	}
	v := &r.Values
	if v.Mode != nil {
		t.mode = MostConservative(*v.Mode)
	}
	if g, _ := v.grace(s); g != nil {
		t.grace = g.orNever()
	}
	if v.ProbeAfter != nil {
		t.probeAfter = v.ProbeAfter.orNever()
	}
	if v.PendingGrace != nil {
		t.pendingGrace = v.PendingGrace.orNever()
	}
	if v.Clock != nil {
		t.clock = *v.Clock
	}
	t.askSigpipe = v.AskSigpipe != nil && *v.AskSigpipe
	return t
}

// Shortest returns the shortest patience of any socket, which determines how often the finder sweeps; Never if no question
// and no destroy is possible.
func (p *Policy) Shortest() Patience {
	return p.shortest(func(t *terms) Patience { return min(t.grace, t.probeAfter) })
}

// ShortestGrace returns the shortest grace of any socket, with or without pending bytes; Never if none can be destroyed.
func (p *Policy) ShortestGrace() Patience {
	return p.shortest(func(t *terms) Patience { return t.grace })
}

// shortest returns the shortest of one of the patiences of any socket.
func (p *Policy) shortest(of func(*terms) Patience) Patience {
	shortest := Never
	for i := -1; i < len(p.Rules); i++ {
		var r *Rule
		if i >= 0 {
			r = &p.Rules[i]
		}
		for _, s := range []inetdiag.State{inetdiag.CloseWait, inetdiag.FinWait2} {
			if r != nil && r.Match.State != 0 && r.Match.State != s {
				continue
			}
			if t := p.terms(r, s); t.mode != Off {
				shortest = min(shortest, of(&t))
			}
		}
	}
	return shortest
}

// capped returns the policy with modes that are not less conservative than m. If its mode changes, source becomes the mode's
// source.
func (p Policy) capped(m Mode, source string) Policy {
	if mode := MostConservative(p.Mode, m); mode != p.Mode {
		p.Mode = mode
		p.Sources = maps.Clone(p.Sources)
		p.Sources[keyMode] = source
	}
	p.changeRules(func(v *Values) {
		if v.Mode != nil {
			v.Mode = new(MostConservative(*v.Mode, m))
		}
	})
	return p
}

// atLeast returns the policy with shorter patiences raised to least.
func (p Policy) atLeast(least Patience) Policy {
	p.Sources = maps.Clone(p.Sources)
	for key, to := range map[string]*Patience{
		keyCloseWaitGrace: &p.CloseWaitGrace, keyFinWait2Grace: &p.FinWait2Grace, keyProbeAfter: &p.ProbeAfter, keyPendingGrace: &p.PendingGrace,
	} {
		if *to < least {
			*to, p.Sources[key] = least, SourceMinGrace
		}
	}
	p.changeRules(func(v *Values) {
		for _, to := range v.patiences() {
			if *to != nil {
				*to = new(max(**to, least))
			}
		}
	})
	return p
}

// changeRules changes a copy of each rule, since layers share them.
func (p *Policy) changeRules(change func(*Values)) {
	if len(p.Rules) == 0 {
		return
	}
	rules := make([]Rule, len(p.Rules))
	copy(rules, p.Rules)
	for i := range rules {
		change(&rules[i].Values)
	}
	p.Rules = rules
}

// The sources of values. The source of an annotation's value is SourceAnnotation, a space and the annotation's name.
const (
	SourceBuiltIn    = "built-in"
	SourceNetwork    = "network"
	SourceAnnotation = "annotation"
	// SourceMinGrace is the source of a patience that was raised to the reaper's minimum.
	SourceMinGrace = "--min-grace"
	// SourceWrongAnnotation is the source of mode observe because of an invalid annotation.
	SourceWrongAnnotation = "wrong annotation"
	// SourceWrongConf is the source of mode observe because of a mistake in the network's configuration.
	SourceWrongConf = "wrong configuration"
	// SourceTooManyRules is the source of mode observe because the layers have more rules and exemptions together than
	// allowed.
	SourceTooManyRules = "too many rules"
)

// Sources has the source of each value of a policy, by its JSON name: "built-in", "network" or, for example,
// "annotation halfclose.cni/grace".
type Sources map[string]string

// sourceKeys returns the keys of values that have a source.
func sourceKeys() []string {
	return []string{
		keyMode, keyCloseWaitGrace, keyFinWait2Grace, keyProbeAfter, keyProbeCount, keyProbeInterval, keyPendingGrace,
		keyClock, keyExempt, keyRules,
	}
}

func builtIn() Sources {
	s := make(Sources)
	for _, key := range sourceKeys() {
		s[key] = SourceBuiltIn
	}
	return s
}
