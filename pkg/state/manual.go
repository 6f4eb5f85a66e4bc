// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

// The record of a namespace that was registered by hand has these in place of what CNI would have given. No CNI
// network can have the name (CNI SPEC 1.1.0, section 1: it begins with a letter or a digit), so no GC takes the
// record for one of its own.
const (
	ManualNetwork = "(manual)"
	ManualIfName  = "manual"
)

// SourceRegister is the source of what the layer of such a record says, in place of the network's.
const SourceRegister = "halfclose register"

// ManualAttachment returns the attachment of a namespace that was registered by hand under a name.
func ManualAttachment(name string) Attachment {
	return Attachment{ContainerID: name, IfName: ManualIfName}
}

// Manual reports whether the record is of a namespace that was registered by hand: no DEL will end it.
func (r Record) Manual() bool { return r.Network == ManualNetwork }
