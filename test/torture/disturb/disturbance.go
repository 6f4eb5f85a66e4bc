// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package disturb has the disturbances of the torture test: each is one thing that goes wrong on the node, and what the
// model must know of it.
package disturb

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// Disturbance is one thing that goes wrong.
type Disturbance interface {
	Name() string
	// Run blocks until the disturbance is over, and returns what the model must know. A *Violation is a wrong outcome. Any
	// other error ends the test: the disturbance itself did not work.
	Run(ctx context.Context, node *Node) ([]model.Effect, error)
}

// Maker makes a disturbance. It takes all decisions from r before it returns: the same seed makes the same disturbance.
type Maker struct {
	Name   string
	Weight int           // how often it is chosen, relative to the others
	Lasts  time.Duration // about how long it runs, so that the plan leaves time between two
	Make   func(r *rand.Rand) Disturbance
}

// Catalog lists all disturbances. The plan chooses among them by weight.
func Catalog() []Maker {
	return slices.Concat(restarts(), finders(), stalls(), disks(), records(), switches(), policyFiles(), namespaces(), floods(), injections())
}

// Choose returns the disturbances with these names, separated by commas, all for "".
func Choose(names string) ([]Maker, error) {
	if names == "" {
		return Catalog(), nil
	}
	var chosen []Maker
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(Catalog(), func(m Maker) bool { return m.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no disturbance has the name %q", name)
		}
		chosen = append(chosen, Catalog()[i])
	}
	return chosen, nil
}

// run is what a disturbance does.
type run func(ctx context.Context, n *Node) ([]model.Effect, error)

// disturbance is a Disturbance that is a function.
type disturbance struct {
	name string
	run  run
}

func (d disturbance) Name() string { return d.name }

func (d disturbance) Run(ctx context.Context, n *Node) ([]model.Effect, error) {
	effects, err := d.run(ctx, n)
	for i := range effects {
		effects[i].Why = d.name
	}
	return effects, err
}

// maker returns the Maker of a disturbance. prepare takes all its decisions.
func maker(name string, weight int, lasts time.Duration, prepare func(r *rand.Rand) run) Maker {
	return Maker{Name: name, Weight: weight, Lasts: lasts, Make: func(r *rand.Rand) Disturbance {
		return disturbance{name, prepare(r)}
	}}
}

// between returns a random duration.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// possibly returns effects on all namespaces that are possible since a time until now.
func possibly(since model.Time, kinds ...model.Kind) (effects []model.Effect) {
	until := model.Now()
	for _, k := range kinds {
		effects = append(effects, model.Possibly(k, since, until, ""))
	}
	return effects
}
