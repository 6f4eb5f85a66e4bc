// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// Mode determines what halfclose does with a socket past its patience. The modes are ordered: Destroy is less conservative
// than Observe, and Observe than Off. The zero Mode counts as Off, so that an unset mode destroys nothing.
type Mode uint8

// The modes, least conservative first.
const (
	Destroy Mode = 1 + iota
	Observe      // report it as would-destroy, and change nothing
	Off          // ignore it
)

// Clock determines from when a patience counts.
type Clock uint8

// The clocks, more conservative first.
const (
	ClockProgress Clock = iota // from the last progress, or else from the half-close if it was seen, or the first look
	ClockState                 // from the half-close, regardless of progress
)

// PodOverrides determines how far a pod's annotations may change its network's policy.
type PodOverrides uint8

// The kinds of PodOverrides.
const (
	OverridesAny   PodOverrides = iota // any value
	OverridesRelax                     // only to more conservative ones: the policies with and without annotations are joined
	OverridesNone                      // not at all
)

// FailurePolicy determines what ADD does about an invalid configuration or a failed registration.
type FailurePolicy uint8

// The failure policies.
const (
	Ignore FailurePolicy = iota // the pod starts, and the record has a warning
	Fail                        // ADD returns a CNI error
)

// ReaperStart determines how the reaper is started.
type ReaperStart uint8

// The ways to start the reaper.
const (
	Auto     ReaperStart = iota // ADD starts the shared reaper if none runs
	External                    // by systemd, a DaemonSet or the like
)

var (
	modeWords     = words{kind: "mode", names: []string{Destroy: "destroy", Observe: "observe", Off: "off"}}
	clockWords    = words{kind: "clock", names: []string{ClockProgress: "progress", ClockState: "state"}}
	overrideWords = words{kind: "podOverrides", names: []string{OverridesAny: "any", OverridesRelax: "relax", OverridesNone: "none"}}
	failureWords  = words{kind: "failurePolicy", names: []string{Ignore: "ignore", Fail: "fail"}}
	startWords    = words{kind: "reaper", names: []string{Auto: "auto", External: "external"}}
)

// MostConservative returns the most conservative of the modes: Off before Observe before Destroy. Without any mode, or with
// an invalid one, it returns Off.
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

// orOff returns the effective mode: Off for an invalid value.
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

// MarshalText returns the text of String, or an error for an invalid value.
func (m Mode) MarshalText() ([]byte, error) {
	if m == 0 {
		m = Off
	}
	return modeWords.marshal(uint8(m))
}

// UnmarshalText parses one of the words that String returns.
func (m *Mode) UnmarshalText(text []byte) error { return unmarshalWord(m, modeWords, text) }

// String returns "progress" or "state".
func (c Clock) String() string { return clockWords.text(uint8(c)) }

// MarshalText returns the text of String, or an error for an invalid value.
func (c Clock) MarshalText() ([]byte, error) { return clockWords.marshal(uint8(c)) }

// UnmarshalText parses one of the words that String returns.
func (c *Clock) UnmarshalText(text []byte) error { return unmarshalWord(c, clockWords, text) }

// String returns "any", "relax" or "none".
func (o PodOverrides) String() string { return overrideWords.text(uint8(o)) }

// MarshalText returns the text of String, or an error for an invalid value.
func (o PodOverrides) MarshalText() ([]byte, error) { return overrideWords.marshal(uint8(o)) }

// UnmarshalText parses one of the words that String returns.
func (o *PodOverrides) UnmarshalText(text []byte) error { return unmarshalWord(o, overrideWords, text) }

// String returns "ignore" or "fail".
func (f FailurePolicy) String() string { return failureWords.text(uint8(f)) }

// String returns "auto" or "external".
func (s ReaperStart) String() string { return startWords.text(uint8(s)) }

// words are the names of the values of one type, by value; an empty name is an invalid value.
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
		return nil, fmt.Errorf("write %s: invalid value %d", w.kind, v)
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

// example describes a value in JSON, with an example.
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
	parsed, err := parseWord[T](w, string(text), Nearest)
	if err != nil {
		return err
	}
	*v = parsed
	return nil
}
