// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package model

import "time"

// Time is a reading of CLOCK_MONOTONIC: the time since boot.
type Time = time.Duration

// Span is a system call or command between two readings of the clock: its effect begins between them.
type Span struct {
	Before, After Time
}

// Kind is what an [Effect] changes.
type Kind int

// The kinds of effects. Within an effect's uncertain edges both readings are allowed: with the effect and without it.
const (
	// Down: nothing is on time. The reaper is missing, stopped or throttled, or cannot do its work.
	Down Kind = iota
	// Observed: nothing may be destroyed, and no peer asked: a switch, a mode or a hold.
	Observed
	// PolicyUncertain: the policy is the one before the effect or the one after it. Nothing is on time, and what either
	// policy allows is allowed.
	PolicyUncertain
	// AgesMayRestart: the idle time may begin again at any time in the interval. A later end is allowed, an earlier one is
	// not.
	AgesMayRestart
	// RoleUnknown: the finder may not know the role of a socket, so each role counts.
	RoleUnknown
	// RoleKnown: another finder may have proven the role of a socket, which then stays known. It ends a certain RoleUnknown.
	RoleKnown
	// OptionsChanged: a question to a peer was interrupted. Options are restored by the next reaper, at the end.
	OptionsChanged
	// Layered: the values of Layer replace those of the policy.
	Layered
	// Unasked: peers may not be asked in time. A grace is still on time.
	Unasked
)

// Effect is the trace of a disturbance in what the model expects. It is certain from From to To, and possible from Since
// to From and from To to Until. If To is before From, it is never certain.
type Effect struct {
	Kind                   Kind
	Since, From, To, Until Time
	Netns                  string // the name of the namespace, "" for all
	Why                    string // the name of the disturbance, for the schedule of a failing socket
	Layer                  Layer  // of Layered
}

// Possibly returns an effect that is possible from the start of a disturbance to its end, and never certain.
func Possibly(kind Kind, since, until Time, why string) Effect {
	return Effect{Kind: kind, Since: since, From: until, To: since, Until: until, Why: why}
}

// affects reports whether the effect is for the namespace.
func (e *Effect) affects(netns string) bool { return e.Netns == "" || e.Netns == netns }

// possible reports whether the effect is possible at a time.
func (e *Effect) possible(at Time) bool { return e.Since <= at && at < e.Until }

// certain reports whether the effect is certain at a time.
func (e *Effect) certain(at Time) bool { return e.From <= at && at < e.To }
