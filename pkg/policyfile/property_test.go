// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
)

// keys are those of a policy's object in a conflist, or of one of its rules.
type keys map[string]any

// sources has all from which the policies of an attachment come.
type sources struct {
	network     keys
	annotations map[string]string
	overrides   [2]policy.PodOverrides // the network's, the file's
	defaults    keys
	sets        []keys // of entries that match
	enforces    []keys
	minGrace    time.Duration
	observe     string
}

// draw draws sources and changes of them from a seed.
type draw struct{ *rand.Rand }

func pick[T any](d draw, all ...T) T { return all[d.IntN(len(all))] }

func patienceKeys() []string {
	return []string{"grace", "closeWaitGrace", "finWait2Grace", "probeAfter", "pendingGrace"}
}

func (d draw) patience() string { return pick(d, "1s", "5s", "20s", "40s", "100s", "never") }

// values returns an keys with some values. The values of a rule have no rules.
func (d draw) values(rule bool) keys {
	o := keys{}
	for _, key := range patienceKeys() {
		if d.IntN(3) == 0 {
			o[key] = d.patience()
		}
	}
	if d.IntN(3) == 0 {
		o["mode"] = pick(d, "destroy", "destroy", "observe", "off")
	}
	if d.IntN(4) == 0 {
		o["clock"] = pick(d, "progress", "state")
	}
	if rule {
		if len(o) == 0 {
			o["grace"] = "1s"
		}
		return o
	}
	if d.IntN(3) == 0 {
		var rules []any
		for range 1 + d.IntN(3) {
			r := d.values(true)
			r["match"] = d.match()
			rules = append(rules, r)
		}
		o["rules"] = rules
	}
	if d.IntN(4) == 0 {
		o["exempt"] = []any{d.match()}
	}
	return o
}

func (d draw) match() keys {
	return pick(d, keys{"role": "client"}, keys{"role": "server"}, keys{"state": "CLOSE_WAIT"}, keys{"state": "FIN_WAIT2"},
		keys{"localPorts": "8080"}, keys{"peerPorts": "443"}, keys{"commands": []any{"a"}}, keys{"uids": "0"})
}

func (d draw) sources() *sources {
	s := &sources{network: d.values(false), minGrace: pick(d, 0, time.Second)}
	s.overrides = [2]policy.PodOverrides{d.overrides(), d.overrides()}
	if d.IntN(2) == 0 {
		s.annotations = map[string]string{}
		for key, annotation := range map[string]string{
			"mode": policy.AnnotationMode, "grace": policy.AnnotationPrefix + "grace", "probeAfter": policy.AnnotationPrefix + "probe-after",
			"rules": policy.AnnotationPrefix + "rules", "exempt": policy.AnnotationPrefix + "exempt", "clock": policy.AnnotationPrefix + "clock",
		} {
			switch value := d.values(false)[key].(type) {
			case string:
				s.annotations[annotation] = value
			case []any:
				s.annotations[annotation] = string(text(value))
			}
		}
	}
	if d.IntN(2) == 0 {
		s.defaults = d.values(false)
	}
	for range d.IntN(3) {
		s.sets = append(s.sets, d.values(false))
	}
	for range d.IntN(2) {
		s.enforces = append(s.enforces, d.values(false))
	}
	return s
}

func (d draw) overrides() policy.PodOverrides {
	return pick(d, policy.OverridesAny, policy.OverridesAny, policy.OverridesRelax, policy.OverridesNone)
}

func text(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// clone copies objects and lists.
func clone(v any) any {
	switch v := v.(type) {
	case keys:
		out := keys{}
		for key, value := range v {
			out[key] = clone(value)
		}
		return out
	case []any:
		var out []any
		for _, value := range v {
			out = append(out, clone(value))
		}
		return out
	}
	return v
}

func cloneAll(all []keys) (out []keys) {
	for _, o := range all {
		out = append(out, clone(o).(keys))
	}
	return out
}

func (s *sources) clone() *sources {
	c := *s
	c.network, c.annotations, c.sets, c.enforces = clone(s.network).(keys), maps.Clone(s.annotations), cloneAll(s.sets), cloneAll(s.enforces)
	if s.defaults != nil {
		c.defaults = clone(s.defaults).(keys)
	}
	return &c
}

func parsed(t *testing.T, o keys) policy.Layer {
	t.Helper()
	layer, problems := policy.ParseLayer(text(o), policy.SourceNetwork)
	for _, p := range problems {
		t.Logf("%s: %v", text(o), p) // such as an exemption behind mode off: the layer has the other values
	}
	return layer
}

// resolve returns the policies of an attachment.
func (s *sources) resolve(t *testing.T) []policy.Policy {
	t.Helper()
	f := policyfile.File{PodOverrides: s.overrides[1]}
	if s.defaults != nil {
		f.Defaults = new(parsed(t, s.defaults))
	}
	add := func(e policyfile.Entry) {
		e.Match = policyfile.Match{Namespace: "*"}
		f.Entries = append(f.Entries, e)
	}
	for _, o := range s.sets {
		add(policyfile.Entry{Set: new(parsed(t, o))})
	}
	for _, o := range s.enforces {
		add(policyfile.Entry{Enforce: new(parsed(t, o))})
	}
	l := policy.Layers{Network: parsed(t, s.network), Annotations: s.annotations, PodOverrides: s.overrides[0], Observe: s.observe}
	return f.Resolve(l, policyfile.Facts{Namespace: "shop", Pod: "cart-0"}, s.minGrace).Policies
}

// anyObject returns one of the objects, or one of its rules.
func (d draw) anyObject(s *sources) keys {
	all := append([]keys{s.network}, append(slices.Clone(s.sets), s.enforces...)...)
	if s.defaults != nil {
		all = append(all, s.defaults)
	}
	for _, o := range slices.Clone(all) {
		if rules, ok := o["rules"].([]any); ok {
			for _, r := range rules {
				all = append(all, r.(keys))
			}
		}
	}
	return all[d.IntN(len(all))]
}

func longer(patience any) string {
	switch patience {
	case "1s", "5s":
		return "20s"
	case "20s":
		return "40s"
	}
	return "never"
}

// moreConservative changes one source in a way that must make no verdict less conservative.
func (d draw) moreConservative(s *sources) (c *sources, what string) {
	c = s.clone()
	o := d.anyObject(c)
	switch d.IntN(10) {
	case 0, 1, 2:
		if key := pick(d, patienceKeys()...); o[key] != nil {
			o[key] = longer(o[key])
		}
		return c, "a longer patience"
	case 3:
		if o["mode"] == "destroy" {
			o["mode"] = pick(d, "observe", "off")
		}
		return c, "a mode nearer to off"
	case 4:
		if o["clock"] != nil {
			o["clock"] = "progress"
		}
		return c, "clock progress"
	case 5:
		if list, ok := o["exempt"].([]any); ok {
			o["exempt"] = append(list, d.match())
		}
		return c, "an exemption more"
	case 6:
		c.minGrace = max(c.minGrace, pick(d, 2*time.Second, time.Minute))
		return c, "a longer --min-grace"
	case 7:
		if i := d.IntN(2); c.overrides[i] == policy.OverridesAny && c.overrides[1-i] == policy.OverridesAny {
			c.overrides[i] = policy.OverridesRelax
		}
		return c, "podOverrides relax in place of any"
	case 8:
		c.observe = "wrong configuration"
		return c, "a wrong configuration"
	default:
		if c.annotations != nil {
			c.annotations = maps.Clone(c.annotations)
			c.annotations[pick(d, policy.AnnotationPrefix+"graec", policy.AnnotationPrefix+"probe-count")] = "x"
		}
		return c, "a wrong annotation"
	}
}

// socketToJudge is a socket with what is known about it.
type socketToJudge struct {
	socket  inetdiag.Socket
	history policy.History
	facts   policy.Facts
	now     monotime.Time
}

func (d draw) socket() socketToJudge {
	j := socketToJudge{now: monotime.Time(time.Duration(d.IntN(200)) * time.Second)}
	j.socket = inetdiag.Socket{
		State: pick(d, inetdiag.CloseWait, inetdiag.FinWait2), Inode: 7, UID: uint32(d.IntN(2)), HasInfo: true,
		RQueue: pick(d, uint32(0), 1, 9), WQueue: pick(d, uint32(0), 0, 9),
	}
	since := monotime.Time(time.Duration(d.IntN(50)) * time.Second)
	j.history = policy.History{State: j.socket.State, Owned: true, Since: since, Start: since, Last: j.now, Role: pick(d, policy.RoleUnknown, policy.RoleClient, policy.RoleServer)}
	if j.facts.OwnersKnown = d.IntN(4) > 0; j.facts.OwnersKnown {
		j.facts.OwnersComplete, j.facts.Owners = d.IntN(2) == 0, []policy.Owner{{Command: pick(d, "a", "b")}}
	}
	return j
}

// checkSources fails if more conservative sources of an attachment's policies give a less conservative verdict.
func checkSources(t *testing.T, seed uint64) {
	t.Helper()
	d := draw{rand.New(rand.NewPCG(seed, seed))}
	s := d.sources()
	for range 3 {
		c, what := d.moreConservative(s)
		was, is := s.resolve(t), c.resolve(t)
		for range 6 {
			j := d.socket()
			before := policy.Judge(was, &j.history, &j.socket, j.facts, j.now)
			after := policy.Judge(is, &j.history, &j.socket, j.facts, j.now)
			if after.Act < before.Act || after.AskAt.Before(before.AskAt) || after.EndAt.Before(before.EndAt) {
				t.Fatalf("seed %d: %s: act %v, ask at %d, end at %d became %v, %d, %d\nbefore %s\nafter %s\nsocket %+v", seed, what,
					before.Act, before.AskAt, before.EndAt, after.Act, after.AskAt, after.EndAt, s, c, j)
			}
			if before.Standing != policy.StandingNone && after.Standing == policy.StandingNone {
				t.Fatalf("seed %d: %s: its other end is no longer spared: %v\nbefore %s\nafter %s", seed, what, before.Standing, s, c)
			}
		}
		s = c
	}
}

func (s *sources) String() string {
	return fmt.Sprintf("network %s, annotations %q, overrides %v, defaults %s, sets %s, enforces %s, min-grace %v, observe %q",
		text(s.network), s.annotations, s.overrides, text(s.defaults), text(s.sets), text(s.enforces), s.minGrace, s.observe)
}

func TestMoreConservativeSourcesNeverGiveALessConservativeVerdict(t *testing.T) {
	for seed := range uint64(1500) {
		checkSources(t, seed)
	}
}

func FuzzMoreConservativeSources(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(checkSources)
}

// TestWhatIsWrongMakesAPodObservedWhateverItsSources checks the cap on its own.
func TestWhatIsWrongMakesAPodObservedWhateverItsSources(t *testing.T) {
	for seed := range uint64(1000) {
		d := draw{rand.New(rand.NewPCG(seed, seed))}
		s := d.sources()
		if s.annotations == nil || s.overrides[0] == policy.OverridesNone || s.overrides[1] == policy.OverridesNone {
			s.observe = "wrong configuration"
		} else {
			s.annotations[policy.AnnotationPrefix+"graec"] = "1m"
		}
		policies := s.resolve(t)
		for range 4 {
			j := d.socket()
			if v := policy.Judge(policies, &j.history, &j.socket, j.facts, j.now); v.Act < policy.Observe || v.Destroy() || v.Ask {
				t.Fatalf("seed %d: %+v\n%s", seed, v, s)
			}
		}
	}
}
