// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

// firstPath leads to the network namespace of process 1, which on a node is the host's own.
const firstPath = "/proc/1/ns/net"

// First opens the network namespace of process 1. It needs CAP_SYS_PTRACE, and every capability of that process.
func First() (*Handle, error) { return Open(firstPath) }

// Host has the network namespaces that may be the host's own, without their cookies. Unless the operator allows it,
// halfclose registers neither and destroys nothing in them.
type Host struct {
	Own   Identity // of this process, as with the function Own
	First Identity // of process 1; zero if Hidden is set
	// Hidden is why First is unknown: of the host's namespaces, only this process's own can be recognised.
	Hidden error
}

// FindHost returns the host's network namespaces as far as this process sees them.
func FindHost() (Host, error) {
	var h Host
	own, err := Own()
	if err != nil {
		return h, err
	}
	defer own.Close()
	h.Own = own.Stat()
	first, err := First()
	if err != nil {
		h.Hidden = err
		return h, nil
	}
	defer first.Close()
	h.First = first.Stat()
	return h, nil
}

// Identities returns the namespaces that are known.
func (h Host) Identities() []Identity {
	if h.Hidden != nil {
		return []Identity{h.Own}
	}
	return []Identity{h.Own, h.First}
}

// Identify returns the identity of the namespace that an absolute path leads to, with its cookie where this process
// may enter the namespace to ask for it.
func Identify(path string) (Identity, error) {
	h, err := Open(path)
	if err != nil {
		return Identity{}, err
	}
	defer h.Close()
	if id, err := h.Identify(); err == nil {
		return id, nil
	}
	return h.Stat(), nil
}
