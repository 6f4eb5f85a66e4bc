// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math/rand/v2"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// flavour decides the policies of a namespace.
func flavour(r *rand.Rand, profile Profile, n *Namespace) {
	p := newPolicy(r)
	first := Attachment{Ifname: "eth0", Changes: []Change{{At: n.At, Policy: &p}}}
	change := func(a *Attachment, after time.Duration, to *model.Policy) {
		if at := n.At + after; at < n.Until-2*time.Second {
			a.Changes = append(a.Changes, Change{At: at, Policy: to})
		}
	}
	var second *Attachment
	switch f := r.IntN(100); {
	case f < 34:
	case f < 39:
		p.Mode = model.Observe
	case f < 43:
		p.Mode = model.Off
	case f < 51: // only the peer's answer ends a socket
		p.CloseWaitGrace, p.FinWait2Grace, p.PendingGrace = model.Never, model.Never, model.Never
		p.ProbeAfter = between(r, 1000, 2500)
	case f < 57: // exempt by port
		p.Exempt = []model.Match{{LocalPort: uint16(HomePort(0, 0))}, {PeerPort: uint16(AwayPort(1))}}
	case f < 63: // by role
		never := model.Never
		p.Rules = []model.Rule{{Match: model.Match{Role: either(r, model.Server, model.Client)}, Layer: model.Layer{CloseWaitGrace: &never, FinWait2Grace: &never}}}
	case f < 69: // by command
		observe := model.Observe
		p.Rules = []model.Rule{{Match: model.Match{Command: either(r, "alpha", "beta")}, Layer: model.Layer{Mode: &observe}}}
	case f < 74: // by state, with the other clock
		byState, grace := true, between(r, 3000, 8000)
		p.Rules = []model.Rule{{Match: model.Match{State: model.CloseWait}, Layer: model.Layer{ByState: &byState, CloseWaitGrace: &grace}}}
	case f < 79: // a rule with a count
		grace := between(r, 1500, 4000)
		p.Rules = []model.Rule{{
			Match: model.Match{State: model.CloseWait, LocalPort: uint16(HomePort(0, CountedPort))},
			Layer: model.Layer{CloseWaitGrace: &grace}, Above: 1 + r.IntN(3),
		}}
		p.ProbeAfter = model.Never
	case f < 90: // several attachments
		second = &Attachment{Ifname: "net1"}
		q := newPolicy(r)
		switch r.IntN(4) {
		case 0:
			q.Mode = model.Observe
		case 1:
			q.CloseWaitGrace, q.FinWait2Grace, q.PendingGrace = model.Never, model.Never, model.Never
		case 2:
			q.Exempt = []model.Match{{State: model.CloseWait}}
		}
		second.Changes = []Change{{At: n.At, Policy: &q}}
		if r.IntN(2) == 0 {
			change(second, between(r, 5000, 20_000), nil)
		}
	default: // changes
		at := between(r, 3000, 8000)
		for range 1 + r.IntN(3) {
			q := newPolicy(r)
			if r.IntN(3) == 0 {
				q.Mode = model.Observe
			}
			change(&first, at, &q)
			at += between(r, 4000, 12_000)
		}
	}
	if profile.Adjust != nil {
		profile.Adjust(r, &p)
	}
	n.Attachments = []Attachment{first}
	if second != nil {
		n.Attachments = append(n.Attachments, *second)
	}
}

// newPolicy decides the values of a policy that destroys.
func newPolicy(r *rand.Rand) model.Policy {
	p := model.Policy{
		Mode: model.Destroy, ProbeAfter: model.Never, ProbeCount: 2 + r.IntN(2), ProbeInterval: time.Second,
		CloseWaitGrace: between(r, 1500, 7000), FinWait2Grace: between(r, 1500, 7000), PendingGrace: between(r, 1000, 9000),
	}
	if r.IntN(2) == 0 {
		p.ProbeAfter = between(r, 1000, 3000)
	}
	return p
}
