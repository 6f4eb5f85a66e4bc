// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// Mode says what becomes of a socket that is past its patience. The modes are ordered: Destroy is less
// conservative than Observe, which is less than Off. The zero Mode is none of them and stands for Off wherever it is
// used, so that a mode that was never set destroys nothing; Policy.Validate reports it.
type Mode uint8

// The modes, least conservative first.
const (
	Destroy Mode = 1 + iota // destroy it
	Observe                 // do everything but the destroy, and account for it as would-destroy
	Off                     // leave it alone
)

// Clock says what a patience is counted from.
type Clock uint8

// The clocks, more conservative first.
const (
	ClockProgress Clock = iota // since the last progress, or else since state entry or the first look
	ClockState                 // since state entry, whatever moves
)

// PodOverrides says how far a pod's annotations may change its network's policy.
type PodOverrides uint8

// The kinds of PodOverrides.
const (
	OverridesAny   PodOverrides = iota // any value
	OverridesRelax                     // both policies are judged, with and without the annotations, and joined
	OverridesNone                      // none
)

// FailurePolicy says what ADD does about a wrong configuration or a failed registration.
type FailurePolicy uint8

// The failure policies.
const (
	Ignore FailurePolicy = iota // the pod starts, and the record carries what went wrong
	Fail                        // ADD returns a CNI error
)

// ReaperStart says who starts the reaper.
type ReaperStart uint8

// The ways to start the reaper.
const (
	Auto     ReaperStart = iota // ADD starts the shared reaper when none runs
	External                    // something else does: systemd, a DaemonSet
)

var (
	modeWords     = words{kind: "mode", names: []string{Destroy: "destroy", Observe: "observe", Off: "off"}}
	clockWords    = words{kind: "clock", names: []string{ClockProgress: "progress", ClockState: "state"}}
	overrideWords = words{kind: "podOverrides", names: []string{OverridesAny: "any", OverridesRelax: "relax", OverridesNone: "none"}}
	failureWords  = words{kind: "failurePolicy", names: []string{Ignore: "ignore", Fail: "fail"}}
	startWords    = words{kind: "reaper", names: []string{Auto: "auto", External: "external"}}
)

// MostConservative returns the most conservative of the modes given: Off before Observe before Destroy. Of no mode at
// all, or with a value among them that is no mode, it is Off.
func MostConservative(modes ...Mode) Mode {
	most := Mode(0)
	for _, m := range modes {
		if !modeWords.has(uint8(m)) {
			return Off
		}
		most = max(most, m)
	}
	if most == 0 {
		return Off
	}
	return most
}

// orOff is the mode that counts: a value that is no mode stands for Off.
func (m Mode) orOff() Mode {
	if !modeWords.has(uint8(m)) {
		return Off
	}
	return m
}

// String returns "destroy", "observe" or "off", and "off" for the zero Mode.
func (m Mode) String() string {
	if m == 0 {
		m = Off
	}
	return modeWords.text(uint8(m))
}

// MarshalText returns what String does; a value that is no mode is an error.
func (m Mode) MarshalText() ([]byte, error) {
	if m == 0 {
		m = Off
	}
	return modeWords.marshal(uint8(m))
}

// UnmarshalText takes exactly one of the words that String returns.
func (m *Mode) UnmarshalText(text []byte) error { return unmarshalWord(m, modeWords, text) }

// String returns "progress" or "state".
func (c Clock) String() string { return clockWords.text(uint8(c)) }

// MarshalText returns what String does; a value that is no clock is an error.
func (c Clock) MarshalText() ([]byte, error) { return clockWords.marshal(uint8(c)) }

// UnmarshalText takes exactly one of the words that String returns.
func (c *Clock) UnmarshalText(text []byte) error { return unmarshalWord(c, clockWords, text) }

// String returns "any", "relax" or "none".
func (o PodOverrides) String() string { return overrideWords.text(uint8(o)) }

// MarshalText returns what String does; a value that is none of them is an error.
func (o PodOverrides) MarshalText() ([]byte, error) { return overrideWords.marshal(uint8(o)) }

// UnmarshalText takes exactly one of the words that String returns.
func (o *PodOverrides) UnmarshalText(text []byte) error { return unmarshalWord(o, overrideWords, text) }

// String returns "ignore" or "fail".
func (f FailurePolicy) String() string { return failureWords.text(uint8(f)) }

// String returns "auto" or "external".
func (s ReaperStart) String() string { return startWords.text(uint8(s)) }

// words are the names of the values of one type, by value; an empty name is no value.
type words struct {
	kind  string
	names []string
}

func (w words) has(v uint8) bool { return int(v) < len(w.names) && w.names[v] != "" }

func (w words) text(v uint8) string {
	if w.has(v) {
		return w.names[v]
	}
	return w.kind + " " + strconv.Itoa(int(v))
}

func (w words) marshal(v uint8) ([]byte, error) {
	if !w.has(v) {
		return nil, fmt.Errorf("write %s: %d is none of its values", w.kind, v)
	}
	return []byte(w.names[v]), nil
}

func (w words) all() []string {
	var all []string
	for _, name := range w.names {
		if name != "" {
			all = append(all, name)
		}
	}
	return all
}

// example is how a value of the kind is written in JSON.
func (w words) example() string { return "a string such as " + strconv.Quote(w.all()[0]) }

func parseWord[T ~uint8](w words, s string, nearest func(string, []string) (string, bool)) (T, error) {
	for v, name := range w.names {
		if name != "" && name == s {
			return T(v), nil
		}
	}
	all := w.all()
	if near, ok := nearest(s, all); ok {
		return 0, fmt.Errorf("unknown %s %s, did you mean %q?", w.kind, quote(s), near)
	}
	for i := range all {
		all[i] = strconv.Quote(all[i])
	}
	last := len(all) - 1
	return 0, fmt.Errorf("unknown %s %s: want %s or %s", w.kind, quote(s), strings.Join(all[:last], ", "), all[last])
}

func unmarshalWord[T ~uint8](v *T, w words, text []byte) error {
	parsed, err := parseWord[T](w, string(text), nearest)
	if err != nil {
		return err
	}
	*v = parsed
	return nil
}
