// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package state keeps on disk which attachments exist on this node.
//
// There is one file per attachment in the state directory:
//
//	attachments/<containerID>@<ifname>.json
//
// The plugin writes it at ADD and deletes it at DEL, and the reaper reads it; neither waits for the other.
// A file is replaced atomically: whoever reads it sees the old record or the new one. What else is found
// there (half-written, written by a newer version, not a record at all) is reported, and stays until the
// DEL of its own attachment, or until it is of another boot and pruned.
//
// Everything in the state directory is root's alone: directories are made with mode 0700, files with 0600.
//
// The package also keeps the switch, the operator's cap on the mode of every attachment.
package state
