// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package plan decides everything that a run of the torture test does, from its seed: pure functions.
package plan

import (
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// Plan has all decisions of a run. All times are from its start.
type Plan struct {
	Seed         uint64
	Duration     time.Duration
	Profile      string
	Namespaces   []Namespace
	Disturbances []Disturbance
	Finder       string // of the first reaper
}

// Disturbance is one entry of the catalog at a time. It takes its own decisions from its seed.
type Disturbance struct {
	At   time.Duration
	Name string
	Seed uint64
}

// Namespace is a registered network namespace.
type Namespace struct {
	Name        string
	Index       int // of its addresses
	At, Until   time.Duration
	Attachments []Attachment
	Owners      []Owner
	Connections []Connection
}

// Attachment is one registration of a namespace: its policies in their order. A nil policy is a DEL.
type Attachment struct {
	Ifname  string
	Changes []Change
}

// Change is a new policy of an attachment.
type Change struct {
	At     time.Duration
	Policy *model.Policy
}

// Owner is a process that owns connections in a namespace.
type Owner struct {
	Command string
	Freezes []Freeze // by SIGSTOP or the freezer
}

// Freeze stops an owner for a time.
type Freeze struct {
	At, For time.Duration
	Signal  bool // SIGSTOP in place of the freezer
}

// Family is the address family of a connection.
type Family int

// The families.
const (
	IPv4   Family = iota
	IPv6          //
	Mapped        // an IPv6 socket with a v4-mapped address in the registered namespace
)

// Port is the listener of a connection, of which a namespace has a few: rules name them.
type Port int

// Connection is a connection with one end in the namespace.
type Connection struct {
	ID        string
	Kind      string
	At        time.Duration
	Owner     int // of Namespace.Owners
	Family    Family
	Server    bool // the end in the namespace has accepted
	Loopback  bool // the other end is in the namespace too
	Port      int  // index of the listener
	Unqueued  bool // accepted by a step of the script
	Binds     bool // the client chooses its port
	Keepalive *Keepalive
	Steps     []Step
	Until     time.Duration // when it is closed, if it has not ended
	Same      string        // the ID of an earlier connection, whose addresses and ports it has
}

// Keepalive has the options that the owner sets itself.
type Keepalive struct {
	On                                 bool
	Idle, Interval, Count, UserTimeout int
}

// Do is what a step does.
type Do int

// The steps. Home is the end in the namespace, away the other one.
const (
	AwayShuts   Do = iota + 1 // and home is in CLOSE_WAIT
	HomeShuts                 // and home is in FIN_WAIT2
	AwayWrites                // N bytes, which stay unread
	AwaySends                 // N bytes, which home reads
	HomeReads                 // N bytes
	HomeSends                 // N bytes, which away reads
	HomeWrites                // N bytes, which away does not acknowledge
	AwayCloses                // and its kernel forgets it two seconds later
	AwayForgets               // at once, without a segment
	AwaySilent                // answers nothing
	AwayBack                  // answers again
	HomeAccepts
	HomeReconnects // the same socket
	HomeCloses
)

// Step is one action of a script, after the one before.
type Step struct {
	After time.Duration
	Do    Do
	N     int
}
