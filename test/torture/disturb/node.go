// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package disturb has the disturbances of the torture test: each is one thing that goes wrong on the node, and what the
// model must know of it.
package disturb

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// Disturbance is one thing that goes wrong.
type Disturbance interface {
	Name() string
	// Run blocks until the disturbance is over, and returns what the model must know. An error ends the test: the
	// disturbance itself did not work.
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
	return nil
}

// Node is the node under test.
type Node struct {
	Programs   string  // the directory of halfclose and cni/halfclose
	StateDir   string  // of plugin and reaper: a file system of its own
	VarDir     string  // of switches and the history
	PolicyFile string  // followed by the reaper
	Reaper     *Reaper // running when a disturbance begins, and when it is over
	Pods       Pods
	Log        func(format string, args ...any) // a line of the schedule, with the time
}

// Pods registers network namespaces and owns their connections.
type Pods interface {
	// Names lists the namespaces that are registered now, in their order of creation.
	Names() []string
	// Path returns the path of a namespace, and its ID as a container.
	Path(name string) string
	// Add calls the plugin's ADD for an attachment of the namespace. The model knows of it afterwards: the policy was
	// replaced, and its records are whole. If the plugin fails, the error has its output.
	Add(ctx context.Context, name, ifname string, p model.Policy) error
	// Policy returns the policy of an attachment as it was last added.
	Policy(name, ifname string) (model.Policy, bool)
	// Ifnames lists the attachments of a namespace.
	Ifnames(name string) []string
	// Flood registers a namespace of its own with n half-closed connections, which are only observed. end deletes it.
	Flood(ctx context.Context, name string, n int) (end func() error, err error)
	// Vanish deletes the namespace without DEL: its owners exit, and its path is removed.
	Vanish(ctx context.Context, name string) error
}

// Now reads CLOCK_MONOTONIC.
func Now() model.Time { return model.Now() }
