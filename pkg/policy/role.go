// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

// Role is the end that opened the connection, or the other one. It is decided once per connection, and saved with it.
type Role uint8

// The roles.
const (
	RoleUnknown Role = iota
	RoleClient       // the kernel chose the local port in connect()
	RoleServer       // accepted from a listener
)

// String returns "unknown", "client" or "server".
func (r Role) String() string { return roleNames.text(uint8(r)) }

// MarshalText returns the text of String, or an error for an invalid value.
func (r Role) MarshalText() ([]byte, error) { return roleNames.marshal(uint8(r)) }

// UnmarshalText parses one of the words that String returns.
func (r *Role) UnmarshalText(text []byte) error { return unmarshalWord(r, roleNames, text) }

var (
	roleNames = words{kind: "role", names: []string{RoleUnknown: "unknown", RoleClient: "client", RoleServer: "server"}}
	// roleWords are the roles that a match may have.
	roleWords = words{kind: "role", names: []string{RoleClient: "client", RoleServer: "server"}}
)
