// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math/rand/v2"

	"github.com/halfclose/halfclose/test/torture/model"
)

// Profile aims a plan at a kind of fault.
type Profile struct {
	Name         string
	Kinds        map[string]int // weights by kind; nil: those of the kinds
	Disturbances map[string]int // weights by name; nil: those of the catalog
	Connections  int            // in a namespace, on average; 0: 14
	// Adjust changes the first policy of a namespace. It may be nil.
	Adjust func(r *rand.Rand, p *model.Policy)
}

// weight returns the weight of a disturbance.
func (p Profile) weight(e Entry) int {
	if p.Disturbances == nil {
		return e.Weight
	}
	return p.Disturbances[e.Name]
}

// connections decides the number of connections of a namespace.
func (p Profile) connections(r *rand.Rand) int {
	n := p.Connections
	if n == 0 {
		n = 14
	}
	return n/2 + r.IntN(n)
}

// kind chooses a kind of connection.
func (p Profile) kind(r *rand.Rand) kind {
	weight := func(k kind) int {
		if p.Kinds == nil {
			return k.weight
		}
		return p.Kinds[k.name]
	}
	all, total := kinds(), 0
	for _, k := range all {
		total += weight(k)
	}
	n := r.IntN(total)
	for _, k := range all {
		if n -= weight(k); n < 0 {
			return k
		}
	}
	return all[0]
}

// soak has many connections, and only disturbances in which one process of the reaper runs from the start to the end.
func soak() Profile {
	return Profile{Name: "soak", Connections: 30, Disturbances: map[string]int{
		"policy-file-observes": 2, "policy-file-wrong": 2, "policy-file-gone": 2, "node-switch": 1, "pod-switch": 2, "namespace-switch": 2,
		"switch-that-ends": 2,
	}}
}

// ProfileOf returns the profile with a name: "" is the one of all kinds.
func ProfileOf(name string) (Profile, error) {
	switch name {
	case "":
		return Profile{}, nil
	case "soak":
		return soak(), nil
	}
	for _, p := range faultProfiles() {
		if p.Name == name {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("no profile is called %q", name)
}
