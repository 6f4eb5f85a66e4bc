// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math/rand/v2"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// faultProfiles aim at the planted faults of test/torture/faults, and have their names.
func faultProfiles() []Profile {
	none := map[string]int{"none": 1}
	leaks := map[string]int{"close-wait-leak": 1, "fin-wait2-leak": 1}
	return []Profile{
		{
			// A finder looks once a second. Of a grace below that, the last look decides.
			Name: "no-second-look", Connections: 30, Disturbances: none,
			Kinds: map[string]int{"streaming-close-wait": 3, "streaming-fin-wait2": 3, "slow-reading": 2, "close-wait-leak": 1},
			Adjust: func(r *rand.Rand, p *model.Policy) {
				destroySoon(r, p)
				p.CloseWaitGrace, p.FinWait2Grace, p.PendingGrace = between(r, 500, 900), between(r, 500, 900), between(r, 500, 900)
			},
		},
		{Name: "no-cookie", Kinds: leaks, Disturbances: map[string]int{"destroy-held-up": 1}, Adjust: destroySoon},
		{Name: "path-for-identity", Kinds: leaks, Disturbances: map[string]int{"replaced": 1}, Adjust: destroySoon},
		{
			Name: "no-repair-of-missed-events", Connections: 60, Kinds: leaks, Disturbances: map[string]int{"bpf-fails": 1},
			Adjust: destroySoon,
		},
		{
			Name: "usable-records-only", Connections: 30, Kinds: leaks, Disturbances: map[string]int{"observing-record-damaged": 1},
			Adjust: destroySoon,
		},
		{
			Name: "options-not-restored", Connections: 6, Disturbances: none, Adjust: askSoon,
			Kinds: map[string]int{"computing-too-long": 2, "peer-answers-late": 1, "close-wait-leak": 2, "fin-wait2-leak": 1},
		},
		{
			Name: "answer-of-another-socket", Connections: 20, Disturbances: none,
			Kinds: map[string]int{"peer-vanishes": 1, "peer-forgets": 2, "close-wait-leak": 2},
			Adjust: func(r *rand.Rand, p *model.Policy) {
				askSoon(r, p)
				p.CloseWaitGrace, p.FinWait2Grace, p.PendingGrace = model.Never, model.Never, model.Never
			},
		},
		{
			Name: "role-forgotten", Kinds: leaks, Disturbances: map[string]int{"role-proven-before-restart": 1}, Adjust: destroySoon,
		},
	}
}

// destroySoon is a policy that destroys after a short grace, and asks no peer.
func destroySoon(r *rand.Rand, p *model.Policy) {
	*p = newPolicy(r)
	p.ProbeAfter = model.Never
	p.CloseWaitGrace, p.FinWait2Grace = between(r, 1500, 3000), between(r, 1500, 3000)
}

// askSoon is a policy that asks peers first.
func askSoon(r *rand.Rand, p *model.Policy) {
	*p = newPolicy(r)
	p.ProbeAfter = between(r, 1000, 1500)
	p.CloseWaitGrace, p.FinWait2Grace, p.PendingGrace = 8*time.Second, 8*time.Second, 8*time.Second
}
