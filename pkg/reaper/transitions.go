// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"time"

	"github.com/halfclose/halfclose/pkg/monotime"
)

// phase is the state of a candidate: what it waits for.
type phase uint8

const (
	phaseTimed     phase = iota // for its time, or for the finder's next look
	phaseQueued                 // for the examiner to have room
	phaseExamined               // for the examiner's answer
	phaseOvertaken              // for the examiner's answer, which will be about the past
	phaseHeld                   // for the budget of destroys
	phaseForbidden              // for a change: it is due, and the mode forbids what it is due for
	phaseRefused                // for the time to retry what was refused
	phaseUnowned                // for a look-up of its owners
	phaseAsking                 // for its peer's answer
	phaseWithdrawn              // for the end of the question that was cancelled
	phaseDropped                // for nothing: it is no candidate any more
	numPhases
)

// event is what happens to a candidate.
type event uint8

const (
	// A finder's look at it.
	eventRenewed event = iota // its idle time began again: progress, or another connection

	// A judgement, of any look.
	eventSpared       // nothing is due
	eventOwnersNeeded // whether something is due depends on its owners
	eventAskDue
	eventAskForbidden // its peer is due to be asked, and the mode forbids it
	eventDestroyDue

	// The agenda, a sweep and the queues.
	eventTimeCame
	eventMissed // a sweep has not shown it
	eventTaken  // by the examiner

	// The examiner's answer.
	eventExamined // it is there, and neither is nor would be destroyed now
	eventGone     // it is not there, or not half-closed
	eventDestroyed
	eventDestroyForbidden // it would be destroyed, and the mode forbids it
	eventOverBudget
	eventRefused // by the kernel; or its network namespace cannot be entered

	// Its owners.
	eventOwnersLookedUp // found or not

	// The prober's answer.
	eventPeerAlive
	eventPeerGone  // the connection ended by the question
	eventClosed    // by its owner, while its peer was asked
	eventNotAsked  // the peer cannot be asked
	eventCancelled // by the prober

	// What happens around it.
	eventRejudged  // its policy or its mode has changed
	eventForgotten // its network namespace is not registered any more, or has ended
	numEvents
)

// action is what a transition has the loop do, a set of bits.
type action uint8

const (
	actQueue  action = 1 << iota // queue it for the examiner
	actHold                      // queue it for the budget
	actLookUp                    // have its owners looked up
	actAsk                       // ask its peer
	actCancel                    // cancel the question
	actRecord                    // count what happened, and write it to the history
	actDrop                      // forget it
)

// transition is the whole state machine of a candidate: its next phase after an event, and what is done. An event that
// a phase has no line for changes nothing, such as an answer to a question that was cancelled.
//
// In three states the candidate is in the hands of another component, and comes back on its own: queued and held, with the
// queue, and examined, with the examiner. So no look and no answer takes it out of these; what changes while the
// examiner works makes its answer one about the past, and the candidate is examined again.
//
// Nor does anything but the prober's answer end a question: until then the prober may have a duplicate of the socket's
// descriptor, and were the socket destroyed its owner could get events for a descriptor that it has closed.
func transition(s phase, e event) (phase, action) {
	if e == eventForgotten {
		return forget(s)
	}
	switch s {
	case phaseTimed:
		switch e {
		case eventOwnersNeeded:
			return phaseUnowned, actLookUp
		case eventAskDue:
			return phaseAsking, actAsk
		case eventAskForbidden:
			return phaseForbidden, actRecord
		case eventDestroyDue, eventTimeCame, eventMissed:
			return phaseQueued, actQueue
		}
	case phaseQueued, phaseHeld:
		if e == eventTaken {
			return phaseExamined, 0
		}
	case phaseExamined:
		switch e {
		case eventRenewed, eventRejudged:
			return phaseOvertaken, 0
		case eventExamined:
			return phaseTimed, 0
		case eventGone:
			return phaseDropped, actDrop
		case eventDestroyed:
			return phaseDropped, actRecord | actDrop
		case eventDestroyForbidden:
			return phaseForbidden, actRecord
		case eventOverBudget:
			return phaseHeld, actHold
		case eventRefused:
			return phaseRefused, 0
		}
	case phaseOvertaken:
		switch e {
		case eventDestroyed, eventDestroyForbidden:
			return phaseQueued, actRecord | actQueue
		case eventExamined, eventGone, eventOverBudget:
			return phaseQueued, actQueue
		case eventRefused:
			return phaseRefused, 0
		}
	case phaseForbidden:
		switch e {
		case eventRenewed, eventSpared, eventRejudged:
			return phaseTimed, 0
		case eventAskDue:
			return phaseAsking, actAsk
		case eventTimeCame, eventMissed:
			return phaseQueued, actQueue
		}
	case phaseRefused:
		if e == eventTimeCame {
			return phaseQueued, actQueue
		}
	case phaseUnowned:
		switch e {
		case eventRenewed, eventSpared, eventOwnersLookedUp, eventRejudged:
			return phaseTimed, 0
		case eventAskDue:
			return phaseAsking, actAsk
		case eventAskForbidden:
			return phaseForbidden, actRecord
		case eventDestroyDue, eventTimeCame, eventMissed:
			return phaseQueued, actQueue
		}
	case phaseAsking:
		switch e {
		case eventRenewed, eventSpared, eventRejudged, eventAskForbidden, eventDestroyDue, eventTimeCame:
			return phaseWithdrawn, actCancel
		case eventPeerAlive, eventNotAsked:
			return phaseTimed, 0
		case eventPeerGone, eventClosed:
			return phaseDropped, actRecord | actDrop
		case eventCancelled:
			return phaseRefused, 0
		}
	case phaseWithdrawn:
		switch e {
		case eventPeerAlive, eventNotAsked, eventCancelled:
			return phaseTimed, 0 // and judged
		case eventPeerGone, eventClosed:
			return phaseDropped, actRecord | actDrop
		}
	case phaseDropped:
		if e == eventDestroyed { // it was forgotten while the examiner destroyed it
			return phaseDropped, actRecord
		}
	}
	return s, 0
}

// forget is the transition of eventForgotten. The queues of the network namespace are dropped with it.
func forget(s phase) (phase, action) {
	switch s {
	case phaseDropped:
		return phaseDropped, 0
	case phaseAsking, phaseWithdrawn:
		return phaseDropped, actCancel | actDrop
	}
	return phaseDropped, actDrop
}

// step is where a candidate stands.
type step struct {
	dueAt monotime.Time // of eventTimeCame; zero: never
	since monotime.Time // in this phase
	phase phase
}

// retryAfter is how long a socket is left alone after the kernel refused to look at or destroy it.
const retryAfter = 10 * time.Second

// next returns the step after an event. dueAt is when a judgement requires the next look, and counts for the events that
// are judgements alone.
func (s step) next(e event, dueAt, now monotime.Time) (step, action) {
	to, act := transition(s.phase, e)
	n := step{phase: to, dueAt: s.dueAt, since: s.since}
	if to != s.phase {
		n.dueAt, n.since = 0, now
	}
	switch {
	case to == phaseRefused && s.phase != phaseRefused:
		n.dueAt = now.Add(retryAfter)
	case e.isJudgement() && to.isJudged():
		n.dueAt = dueAt
	}
	return n, act
}

// isJudgement reports whether the event is a judgement that requires another look at some time.
func (e event) isJudgement() bool {
	switch e {
	case eventSpared, eventOwnersNeeded, eventAskDue, eventAskForbidden:
		return true
	}
	return false
}

// isJudged reports whether a judgement decides when the candidate's time comes.
func (s phase) isJudged() bool {
	switch s {
	case phaseTimed, phaseForbidden, phaseUnowned, phaseAsking:
		return true
	}
	return false
}

// String returns the phase as /debug and tests show it.
func (s phase) String() string {
	return [numPhases]string{
		"timed", "queued", "examined", "overtaken", "held", "forbidden", "refused", "unowned", "asking", "withdrawn", "dropped",
	}[s]
}

// String returns the event as metrics and tests show it.
func (e event) String() string {
	return [numEvents]string{
		"renewed", "spared", "owners-needed", "ask-due", "ask-forbidden", "destroy-due", "time-came", "missed", "taken",
		"examined", "gone", "destroyed", "destroy-forbidden", "over-budget", "refused", "owners-looked-up", "peer-alive",
		"peer-gone", "closed", "not-asked", "cancelled", "rejudged", "forgotten",
	}[e]
}
