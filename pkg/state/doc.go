// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package state keeps the attachments of this node on disk, one file per attachment in the state directory:
//
//	attachments/<containerID>@<ifname>:<netns cookie>-<netns inode>.json
//
// The plugin writes the file at ADD and deletes it at DEL, and the reaper reads it; neither waits for the other. A file is
// replaced atomically: a reader finds the old record or the new one, or both if they name two network namespaces. A damaged
// file, or one of a newer version, is reported and stays until the DEL of its attachment or until the reaper prunes it. Until
// then the netns in its name is only observed: no damage to a record makes its policy less conservative. See
// docs/decisions/2026-11-29-record-layers.md.
//
// A record has the unresolved layers of the policy (the network's values and the pod's annotations), and the mistakes
// in them. Its reader resolves the layers.
//
// Only root may read or write the state directory: directories are created with mode 0700, files with 0600. A directory that
// another user can write to is refused.
//
// The package also keeps the switch, the operator's cap on the mode of every attachment.
package state
