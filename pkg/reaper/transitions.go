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
	phaseTimed      phase = iota // for its due time, or for the finder's next look
	phaseQueued                  // for the examiner to be free
	phaseExamined                // for the examiner's answer
	phaseOvertaken               // for the examiner's answer, which is outdated already
	phaseOverBudget              // for the rate limit on destroys
	phaseForbidden               // for a change of mode: it is due, and the mode forbids the question or the destroy
	phaseRefused                 // for retryAfter, after the kernel refused
	phaseUnowned                 // for a look-up of its owners
	phaseUnasked                 // for retryAfter, after its peer could not be asked for now, or for its destroy
	phaseAsking                  // for its peer's answer
	phaseWithdrawn               // for the answer to a cancelled question
	phaseDropped                 // for nothing: it is no longer a candidate
	numPhases
)

// event is what happens to a candidate.
type event uint8

const (
	// A finder's look at it, or a reading of its owners during the examiner's.
	eventRenewed event = iota // its idle time restarted: progress, another connection, or owners that were frozen

	// A judgement, of any look.
	eventSpared       // nothing is due
	eventOwnersNeeded // whether something is due depends on its owners
	eventAskDue
	eventAskForbidden // its peer is due to be asked, and the mode forbids it
	eventDestroyDue

	// The agenda, a sweep and the queues.
	eventTimeCame
	eventNotShown // by a sweep
	eventTaken    // by the examiner

	// The examiner's answer.
	eventExamined // it exists and is spared
	eventGone     // it does not exist, or is not half-closed
	eventDestroyed
	eventDestroyForbidden // its destroy is due, and the mode forbids it
	eventOverBudget
	eventRefused // by the kernel, or its network namespace cannot be entered

	// Its owners.
	eventOwnersLookedUp // found or not

	// The prober's answer.
	eventPeerAlive
	eventPeerGone  // the connection ended by the question
	eventClosed    // by its owner, while its peer was asked
	eventNotAsked  // the peer cannot be asked
	eventCancelled // by the prober

	// Changes of its network namespace.
	eventRejudged  // its policies or its mode have changed
	eventForgotten // it was unregistered or deleted
	numEvents
)

// action is a set of actions that a transition requires.
type action uint8

const (
	actQueue       action = 1 << iota // queue it for the examiner
	actAwaitBudget                    // queue it for the rate limit
	actLookUp                         // queue it for a look-up of its owners
	actAsk                            // ask its peer
	actCancel                         // cancel the question
	actRecord                         // count the event, and add it to the history
	actDrop                           // remove the candidate
)

// transition is the state machine of a candidate: it returns the next phase after an event, and the required actions. An
// event that is not listed for a phase has no effect, such as the answer to a cancelled question.
//
// A candidate in phaseQueued, phaseOverBudget or phaseExamined belongs to a queue or to the examiner, and leaves the phase
// only through it: neither a look nor an answer of another component moves it. A change while the examiner works makes
// its answer outdated, and the candidate is examined again.
//
// Only the prober's answer ends a question. Until then the prober may have a duplicate of the socket's descriptor: if the
// socket were destroyed, its owner could get epoll events for a descriptor that it has closed.
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
		case eventDestroyDue, eventTimeCame, eventNotShown:
			return phaseQueued, actQueue
		}
	case phaseQueued, phaseOverBudget:
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
			return phaseOverBudget, actAwaitBudget
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
		case eventTimeCame, eventNotShown:
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
		case eventDestroyDue, eventTimeCame, eventNotShown:
			return phaseQueued, actQueue
		}
	case phaseUnasked:
		switch e {
		case eventRenewed, eventSpared, eventRejudged:
			return phaseTimed, 0
		case eventAskForbidden:
			return phaseForbidden, actRecord
		case eventDestroyDue, eventTimeCame, eventNotShown:
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
			return phaseUnasked, 0
		}
	case phaseWithdrawn:
		switch e {
		case eventPeerAlive, eventNotAsked, eventCancelled:
			return phaseTimed, 0 // the caller looks at it again
		case eventPeerGone, eventClosed:
			return phaseDropped, actRecord | actDrop
		}
	case phaseDropped:
		if e == eventDestroyed { // it was dropped while the examiner destroyed it
			return phaseDropped, actRecord
		}
	}
	return s, 0
}

// forget is the transition of eventForgotten. The caller drops the queues of the network namespace.
func forget(s phase) (phase, action) {
	switch s {
	case phaseDropped:
		return phaseDropped, 0
	case phaseAsking, phaseWithdrawn:
		return phaseDropped, actCancel | actDrop
	}
	return phaseDropped, actDrop
}

// step is a candidate's phase with its times.
type step struct {
	dueAt monotime.Time // of eventTimeCame; zero: never
	since monotime.Time // when it entered the phase
	phase phase
}

// retryAfter is the time until the next attempt after the kernel refused to look up or destroy a socket, or the prober could
// not ask its peer.
const retryAfter = 10 * time.Second

// next returns the step after an event. dueAt is when a judgement requires the next look, and after a question that was not
// asked when the last judgement requires it; other events ignore it.
func (s step) next(e event, dueAt, now monotime.Time) (step, action) {
	to, act := transition(s.phase, e)
	n := step{phase: to, dueAt: s.dueAt, since: s.since}
	if to != s.phase {
		n.dueAt, n.since = 0, now
	}
	switch {
	case to == phaseRefused && s.phase != phaseRefused:
		n.dueAt = now.Add(retryAfter)
	case to == phaseUnasked && s.phase != phaseUnasked:
		n.dueAt = now.Add(retryAfter)
		if !dueAt.IsZero() {
			n.dueAt = min(n.dueAt, dueAt)
		}
	case e.isJudgement() && to.isJudged():
		n.dueAt = dueAt
	}
	return n, act
}

// isJudgement reports whether the event is a judgement with a time for the next look.
func (e event) isJudgement() bool {
	switch e {
	case eventSpared, eventOwnersNeeded, eventAskDue, eventAskForbidden:
		return true
	}
	return false
}

// isJudged reports whether the last judgement determines when the candidate is due.
func (s phase) isJudged() bool {
	switch s {
	case phaseTimed, phaseForbidden, phaseUnowned, phaseAsking:
		return true
	}
	return false
}

// String returns the phase for tests.
func (s phase) String() string {
	return [numPhases]string{
		"timed", "queued", "examined", "overtaken", "over-budget", "forbidden", "refused", "unowned", "unasked", "asking", "withdrawn", "dropped",
	}[s]
}

// String returns the event for metrics and tests.
func (e event) String() string {
	return [numEvents]string{
		"renewed", "spared", "owners-needed", "ask-due", "ask-forbidden", "destroy-due", "time-came", "missed", "taken",
		"examined", "gone", "destroyed", "destroy-forbidden", "over-budget", "refused", "owners-looked-up", "peer-alive",
		"peer-gone", "closed", "not-asked", "cancelled", "rejudged", "forgotten",
	}[e]
}
