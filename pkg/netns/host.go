// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package netns

// OpenPID1 opens the network namespace of process 1: on a node, the host's own. It needs CAP_SYS_PTRACE, and every
// capability of that process.
func OpenPID1() (*Handle, error) { return Open("/proc/1/ns/net") }

// Host has the network namespaces that may be the host's own, without their cookies. Unless the operator allows it,
// halfclose registers neither and destroys no socket in them.
type Host struct {
	Own  Identity // of this process, as of the function OpenOwn
	PID1 Identity // of process 1; zero if PID1Err is set
	// PID1Err is why PID1 is unknown: then the host's network namespace is recognised only if this process is in it.
	PID1Err error
}

// FindHost returns the host's network namespaces as far as this process sees them.
func FindHost() (Host, error) {
	var h Host
	own, err := OpenOwn()
	if err != nil {
		return h, err
	}
	defer own.Close()
	h.Own = own.Stat()
	first, err := OpenPID1()
	if err != nil {
		h.PID1Err = err
		return h, nil
	}
	defer first.Close()
	h.PID1 = first.Stat()
	return h, nil
}

// Identities returns the known ones.
func (h Host) Identities() []Identity {
	if h.PID1Err != nil {
		return []Identity{h.Own}
	}
	return []Identity{h.Own, h.PID1}
}

// Identify returns the identity of the network namespace at an absolute path. It has the cookie if this process may enter
// the namespace.
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
