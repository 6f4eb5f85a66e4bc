// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

// Role says which end opened a connection. It is decided once for each connection and saved with it.
type Role uint8

// The roles.
const (
	RoleUnknown Role = iota // not decided, or not to be found out
	RoleClient              // the kernel chose the local port in connect()
	RoleServer              // accepted from a listener
)

// String returns "unknown", "client" or "server".
func (r Role) String() string { return roleNames.text(uint8(r)) }

// MarshalText returns what String does; a value that is no role is an error.
func (r Role) MarshalText() ([]byte, error) { return roleNames.marshal(uint8(r)) }

// UnmarshalText takes exactly one of the words that String returns.
func (r *Role) UnmarshalText(text []byte) error { return unmarshalWord(r, roleNames, text) }

var (
	roleNames = words{kind: "role", names: []string{RoleUnknown: "unknown", RoleClient: "client", RoleServer: "server"}}
	// roleWords are the roles that a match may ask for.
	roleWords = words{kind: "role", names: []string{RoleClient: "client", RoleServer: "server"}}
)
