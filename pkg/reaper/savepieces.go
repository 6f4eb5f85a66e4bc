// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"maps"
	"slices"

	"github.com/halfclose/halfclose/pkg/netns"
)

// pieceSize is the number of candidates of a piece: a millisecond of the loop's time.
const pieceSize = 4096

// savePieces yields the candidates for the file in pieces, so that the loop can serve deadlines in between: the candidates of
// registered network namespaces, and then the kept histories, up to a limit. The network namespaces with the fewest
// candidates come first, so that one with many costs the others no age. Only the loop calls its methods.
type savePieces struct {
	loop  *loop
	limit int
	left  int // after the last piece: candidates and histories that were not yielded

	done       map[*registered]bool
	namespaces []*registered // in order; the first one is being yielded
	candidates []*candidate  // of the first, that are left
	former     []formerPiece
	atFormer   bool
}

// formerPiece has kept histories of one network namespace.
type formerPiece struct {
	netns     netns.Identity
	histories []aged
}

func (l *loop) newSavePieces(limit int) *savePieces {
	return &savePieces{loop: l, limit: limit, done: make(map[*registered]bool)}
}

// next calls yield for the candidates of the next piece. It reports whether another piece follows.
func (p *savePieces) next(yield func(savedCandidate)) (more bool) {
	for n := 0; n < pieceSize; {
		switch {
		case p.limit == 0:
			p.left = p.count()
			return false
		case len(p.candidates) > 0:
			c := p.candidates[0]
			p.candidates = p.candidates[1:]
			if n++; c.step.phase != phaseDropped { // since the piece before
				yield(savedCandidate{c.ns.Identity, p.loop.tracker.aged(c, p.loop.clock.Now())})
				p.limit--
			}
		case p.nextNetns():
		case len(p.former) > 0:
			f := &p.former[0]
			yield(savedCandidate{f.netns, f.histories[0]})
			p.limit--
			n++
			if f.histories = f.histories[1:]; len(f.histories) == 0 {
				p.former = p.former[1:]
			}
		case p.atFormer:
			return false
		default:
			p.atFormer = true
			for id, f := range p.loop.ages.former {
				p.former = append(p.former, formerPiece{id, f.histories})
			}
		}
	}
	return true
}

// nextNetns continues with the candidates of another network namespace. It reports false if there is none.
func (p *savePieces) nextNetns() bool {
	if len(p.namespaces) == 0 { // at first, or others may be registered since
		for _, ns := range p.loop.registry.namespaces {
			if !p.done[ns] {
				p.namespaces = append(p.namespaces, ns)
			}
		}
		slices.SortFunc(p.namespaces, func(a, b *registered) int { return cmp.Compare(len(a.candidates), len(b.candidates)) })
	}
	if len(p.namespaces) == 0 {
		return false
	}
	ns := p.namespaces[0]
	p.namespaces = p.namespaces[1:]
	p.done[ns] = true
	p.candidates = slices.AppendSeq(make([]*candidate, 0, len(ns.candidates)), maps.Values(ns.candidates))
	return true
}

// count returns the number of candidates and histories that are left.
func (p *savePieces) count() (left int) {
	left = len(p.candidates)
	for _, ns := range p.loop.registry.namespaces {
		if !p.done[ns] {
			left += len(ns.candidates)
		}
	}
	if !p.atFormer {
		return left + p.loop.ages.count
	}
	for _, f := range p.former {
		left += len(f.histories)
	}
	return left
}

// finish records how many were left out, and warns once while the file has no room for all.
func (p *savePieces) finish() {
	was := p.loop.ages.unsaved
	if p.loop.ages.unsaved = p.left; was == 0 && p.left > 0 {
		p.loop.warnings.warn(WarnSavedAges, "too many half-closed sockets to save their ages: after a restart the ages of the others restart from tcp_info",
			"not_saved", p.left, "room", maxSavedCandidates)
	}
}
