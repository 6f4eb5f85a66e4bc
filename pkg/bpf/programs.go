// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"time"
)

// Options says how to load the programs.
type Options struct {
	// MaxSockets is how many half-closed sockets the set can hold, 0 for DefaultMaxSockets.
	MaxSockets int
	// MaxNamespaces is how many namespaces can be watched, 0 for DefaultMaxNamespaces.
	MaxNamespaces int
}

// The sizes of what is in the kernel's memory, where Options says nothing else.
const (
	DefaultMaxSockets    = 1 << 17
	DefaultMaxNamespaces = 4096
)

// Programs are the programs, loaded. Its methods may be called concurrently.
type Programs struct{}

// UnsupportedError says why the programs cannot be loaded here, and what to do about it.
type UnsupportedError struct {
	Reason string // one of the words below, for metrics and tests
	Err    error
	Remedy string
}

func (e *UnsupportedError) Error() string { return e.Err.Error() + ": " + e.Remedy }
func (e *UnsupportedError) Unwrap() error { return e.Err }

// Health is how the programs are doing.
type Health struct {
	Entries  int    // in the set
	Capacity int    // of the set
	Overflow uint64 // how many sockets found no room in the set
	Lost     uint64 // how many were not put into the set, or not taken out, for any other reason
	Skipped  uint64 // how often the kernel itself says that it did not call the program
	// Runs is how often the program was called at a change of state and RunTime how long that took, both zero
	// unless the kernel counts it (sysctl kernel.bpf_stats_enabled).
	Runs    uint64
	RunTime time.Duration
	Memory  uint64 // bytes of kernel memory that the maps take
	// AllProcesses is whether Walk sees all processes of the machine: not from within a container's pid
	// namespace.
	AllProcesses bool
}

var errTODO = errors.New("not written yet")

// Load loads the programs and begins to follow the watched namespaces: none yet. The error matches
// *UnsupportedError where this kernel, or what this process may do, is why.
func Load(o Options) (*Programs, error) { return nil, errTODO }

// Watch replaces the set of namespaces to look at, given by their cookies (SO_NETNS_COOKIE). What the set holds
// of others goes.
func (p *Programs) Watch(cookies []uint64) error { return errTODO }

// Entries reads the set: the sockets that became half-closed since their namespace is watched, and those that
// Walk found. The Socket is valid until found returns; found's error ends the reading and is returned.
func (p *Programs) Entries(found func(*Socket) error) error { return errTODO }

// Walk lists what half-closed sockets of watched namespaces the processes hold, and puts those into the set that
// it lacks. The Holding is valid until found returns; found's error ends the walk and is returned.
func (p *Programs) Walk(found func(*Holding) error) error { return errTODO }

// Holders lists what TCP sockets, in whatever state and namespace, the processes hold. The Holder is valid until
// found returns; found's error ends the walk and is returned.
func (p *Programs) Holders(found func(*Holder) error) error { return errTODO }

// Health tells how the programs are doing.
func (p *Programs) Health() (Health, error) { return Health{}, errTODO }

// Close ends the programs. Closing again does nothing.
func (p *Programs) Close() error { return nil }
