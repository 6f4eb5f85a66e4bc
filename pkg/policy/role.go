// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

// Role is which side of its connection a socket is.
type Role uint8

// The roles.
const (
	RoleUnknown Role = iota
	RoleClient       // connect() chose its local port
	RoleServer       // a listener accepted it
)

// String returns the role as policies spell it.
func (r Role) String() string {
	switch r {
	case RoleClient:
		return "client"
	case RoleServer:
		return "server"
	}
	return "unknown"
}
