// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package agent is a process of the torture test that owns connections: it carries out orders on them, with the time before
// and after each, and witnesses how they end.
//
// It uses raw descriptors, since the runtime's poller would consume the events that the witness needs.
package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// Op is an operation on a connection or a listener.
type Op string

// The operations.
const (
	Listen    Op = "listen"    // Listener at Address: returns the port
	Connect   Op = "connect"   // Conn from Local (may be empty) to Address
	Accept    Op = "accept"    // Conn from Listener
	Reconnect Op = "reconnect" // disconnect Conn, and connect the same socket to Address
	Shut      Op = "shut"      // shut down the sending side
	Await     Op = "await"     // wait for State
	Write     Op = "write"     // N bytes, and wait until they are acknowledged, unless Unacked is set
	Read      Op = "read"      // exactly N bytes
	Close     Op = "close"     // Conn or Listener
	Forget    Op = "forget"    // close without a segment: the next one from the peer is answered with a reset
	Silence   Op = "silence"   // drop everything that the peer sends
	Hear      Op = "hear"      // revert Silence
	Finish    Op = "finish"    // read the options and the unread bytes, and close
	Rename    Op = "rename"    // set the command of the process to Address
)

// Order is a request to an agent.
type Order struct {
	ID       int           `json:"id"`
	Op       Op            `json:"op"`
	Conn     string        `json:"conn,omitempty"`
	Listener string        `json:"listener,omitempty"`
	Address  string        `json:"address,omitempty"`
	Local    string        `json:"local,omitempty"`
	State    uint8         `json:"state,omitempty"`
	N        int           `json:"n,omitempty"`
	Unacked  bool          `json:"unacked,omitempty"`
	Options  *Options      `json:"options,omitempty"` // of Connect and Accept: set right away
	Patience time.Duration `json:"patience,omitempty"`
}

// Options are the five options that a question changes.
type Options struct {
	Keepalive   int `json:"keepalive"`
	Idle        int `json:"idle"`
	Interval    int `json:"interval"`
	Count       int `json:"count"`
	UserTimeout int `json:"userTimeout"`
}

// Answer is the answer to an order, or, without an ID, the news of an ended connection.
type Answer struct {
	ID     int           `json:"id,omitempty"`
	Conn   string        `json:"conn,omitempty"`
	Error  string        `json:"error,omitempty"`
	Before time.Duration `json:"before,omitempty"` // CLOCK_MONOTONIC
	After  time.Duration `json:"after,omitempty"`
	Port   int           `json:"port,omitempty"`
	Local  string        `json:"local,omitempty"`
	Cookie uint64        `json:"cookie,omitempty"`
	// Options are the options that the socket has, N the number of bytes that were read, Wrong whether a byte differed.
	Options *Options `json:"options,omitempty"`
	N       int      `json:"n,omitempty"`
	Wrong   bool     `json:"wrong,omitempty"`
	// Errno is the error of an ended connection: it ended between Before, when it was seen alive, and After.
	Errno unix.Errno `json:"errno,omitempty"`
	// Stray is set if there was an event for a descriptor that the agent has closed.
	Stray bool `json:"stray,omitempty"`
}

// pattern returns the byte at an offset of a stream.
func pattern(offset int) byte { return byte(offset*7 + offset>>8) }
