// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package plan has the types that the machine of an emulated kernel and the command that boots it exchange: the steps to
// run, and the events of running them.
package plan

// Path is the file of the Plan on the machine.
const Path = "/plan.json"

// Modules is the directory of the kernel's modules on the machine, named in the order of loading.
const Modules = "/modules"

// Plan is the steps that a machine runs before it powers off.
type Plan struct {
	Steps []Step `json:"steps"`
}

// Step is a test program to run.
type Step struct {
	Name string   `json:"name"`
	Dir  string   `json:"dir"` // the directory to run it in
	Args []string `json:"args"`
	Env  []string `json:"env"` // NAME=value, in addition to PATH, HOME and CI
	// Without are modules that must not be loaded yet, as inet_diag, with the modules that need them.
	Without []string `json:"without,omitempty"`
}

// Event is one line of what the machine reports.
type Event struct {
	Kind Kind   `json:"kind"`
	Step string `json:"step,omitempty"`
	// Text is the output of a step, the reason why a module cannot be loaded, or why a step cannot be run.
	Text string `json:"text,omitempty"`
	// Exit is the exit status of an ended step, -1 if a signal killed it or it did not run.
	Exit int `json:"exit,omitempty"`
}

// Kind is the kind of an Event.
type Kind string

// The kinds of events, in the order in which a machine reports them. Started, Output and Ended repeat for each step.
const (
	Booted    Kind = "booted"
	NotLoaded Kind = "not-loaded" // a module
	Started   Kind = "started"
	Output    Kind = "output"
	Ended     Kind = "ended"
	Finished  Kind = "finished" // all steps have ended
)
