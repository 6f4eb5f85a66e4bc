// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package state keeps on disk which attachments exist on this node.
//
// There is one file per attachment in the state directory:
//
//	attachments/<containerID>@<ifname>:<netns cookie>-<netns inode>.json
//
// The plugin writes it at ADD and deletes it at DEL, and the reaper reads it; neither waits for the other.
// A file is replaced atomically: a reader sees the old record or the new one, or both if they are of two network
// namespaces. What else is found there (cut short, written by a newer version, not a record at all) is reported, and
// stays until the DEL of its own attachment, or until the reaper prunes it. Until then it holds the netns in its name:
// no damage to a record makes less of what it asked for. See docs/decisions/2026-11-29-record-layers.md.
//
// A record keeps apart what the network and the pod's annotations ask for, and what the plugin found wrong. Its reader resolves them.
//
// Everything in the state directory is root's alone: directories are made with mode 0700, files with 0600.
//
// The package also keeps the switch, the operator's cap on the mode of every attachment.
package state
