// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"io"

	"github.com/halfclose/halfclose/pkg/bpf"
)

// Programs has the methods of the loaded BPF programs that the bpf finder needs. Its methods may be called concurrently, but
// not from the functions that they call. They need no privilege that loading the programs did not need. After any
// error the caller cannot rely on the set of sockets any more, and loads the programs again.
type Programs interface {
	// Watch replaces the watched network namespaces, given by their cookies. The sockets of all others leave the set of
	// sockets. It fails if there are more cookies than the programs have room for.
	Watch(cookies []uint64) error
	// Entries calls visit for each socket of the set: with the counters of the moment at which it became half-closed, or
	// of the moment at which Walk has added it. The next call of visit reuses its Socket. An error of visit ends the
	// reading, and Entries returns it.
	Entries(visit func(*bpf.Socket) error) error
	// Walk calls visit for each descriptor that refers to a half-closed socket of a watched network namespace, and adds
	// sockets that the set lacks. It covers the processes of the caller's PID namespace and of the PID namespaces below.
	// The next call of visit reuses its OwnedSocket. An error of visit ends the walk, and Walk returns it.
	Walk(visit func(*bpf.OwnedSocket) error) error
	// Usage returns what each watched network namespace uses of the set, and how many of its sockets have not fit since the
	// last call.
	Usage() ([]bpf.Usage, error)
	// Forget removes sockets from the set, given by their cookies. A cookie that is not in the set is no error.
	Forget(cookies []uint64) error
	// Health returns the capacity of the set, and the number of events that the programs have missed.
	Health() (bpf.Health, error)
}

// OwnerPrograms has the method of the loaded BPF programs that finding the owners of sockets needs.
type OwnerPrograms interface {
	// Descriptors calls visit for each descriptor that refers to a TCP socket, in any state and network namespace, of
	// the processes that Walk covers. The next call of visit reuses its Descriptor. An error of visit ends the walk, and
	// Descriptors returns it.
	Descriptors(visit func(*bpf.Descriptor) error) error
}

// LoadedPrograms is one load of the BPF programs: *bpf.Programs.
type LoadedPrograms interface {
	Programs
	OwnerPrograms
	io.Closer // unloads them; their set of sockets is lost
}
