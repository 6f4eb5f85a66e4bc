// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

// The network and the interface in the record of a netns that was registered by hand. No CNI network can have that name (CNI
// SPEC 1.1.0, section 1: it begins with a letter or a digit), so no GC removes the record.
const (
	ManualNetwork = "(manual)"
	ManualIfName  = "manual"
)

// SourceRegister is the source of the values in such a record's layer.
const SourceRegister = "halfclose register"

// ManualAttachment returns the attachment of a netns that was registered by hand under a name.
func ManualAttachment(name string) Attachment {
	return Attachment{ContainerID: name, IfName: ManualIfName}
}

// The network and the interface in the record of a netns that the reaper's --adopt-netns registered.
const (
	MountedNetwork = "(netns)"
	MountedIfName  = "netns"
)

// SourceAdoptNetns is the source of the values in such a record's layer.
const SourceAdoptNetns = "adopt-netns"

// MountedAttachment returns the attachment of a netns that --adopt-netns registered under a name.
func MountedAttachment(name string) Attachment {
	return Attachment{ContainerID: name, IfName: MountedIfName}
}
