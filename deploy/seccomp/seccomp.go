// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package seccomp has the seccomp profiles of halfclose's containers, in the format of the OCI runtime specification, which
// Kubernetes calls Localhost profiles.
package seccomp

import "embed"

// The names of the profiles.
const (
	Reaper    = "reaper"
	Installer = "installer"
)

//go:embed *.json
var files embed.FS

// Names lists the profiles.
func Names() []string { return []string{Installer, Reaper} }

// File returns the content of a profile's file.
func File(name string) ([]byte, error) { return files.ReadFile(name + ".json") }
