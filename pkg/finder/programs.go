// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package finder

import (
	"io"

	"github.com/halfclose/halfclose/pkg/bpf"
)

// Programs is what the bpf finder needs of the loaded BPF programs. Its methods may be called concurrently, but
// not from the functions that they call. They need no privilege that loading the programs did not need. After any
// error the caller cannot rely on the set of sockets any more, and loads the programs again.
type Programs interface {
	// Watch replaces the set of network namespaces that the programs look at, given by their cookies. The
	// sockets of all others leave the set of sockets. It fails if there are more cookies than the programs have room for.
	Watch(cookies []uint64) error
	// Entries calls visit for each socket of the set: the kernel has reported it since its network namespace is
	// watched, and it has the counters of that moment, or Walk has added it. The next call of visit reuses its
	// Socket. An error of visit ends the reading, and Entries returns it.
	Entries(visit func(*bpf.Socket) error) error
	// Walk calls visit for each descriptor of a process that leads to a half-closed socket of a watched network
	// namespace, and adds sockets that the set lacks. It sees the processes of the caller's PID namespace and of
	// the PID namespaces below. The next call of visit reuses its Holding. An error of visit ends the walk, and Walk returns it.
	Walk(visit func(*bpf.Holding) error) error
	// Forget removes sockets from the set, given by their cookies. A cookie that is not in the set is no error.
	Forget(cookies []uint64) error
	// Health returns the capacity of the set, and how many sockets and calls the kernel has dropped.
	Health() (bpf.Health, error)
}

// OwnerPrograms is what finding the owners of sockets needs of the loaded BPF programs.
type OwnerPrograms interface {
	// Holders calls visit for each descriptor of a process that leads to a TCP socket, in any state and network
	// namespace, of the processes that Walk sees. The next call of visit reuses its Holder. An error of visit ends
	// the walk, and Holders returns it.
	Holders(visit func(*bpf.Holder) error) error
}

// LoadedPrograms is one load of the BPF programs: *bpf.Programs.
type LoadedPrograms interface {
	Programs
	OwnerPrograms
	io.Closer // unloads them; their set of sockets is lost
}
