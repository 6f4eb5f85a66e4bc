// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/netns"
)

// sources are what a reaper finds sockets and their owners with.
type sources = finder.Senses

// defaultFinder lets openSources choose.
const defaultFinder = finder.NameAuto

// finderNames lists the values of --finder.
func finderNames() []string { return finder.Names() }

// openSources opens the finder that the configuration names.
func openSources(cfg *Config, root *netns.Root) (*sources, error) {
	load := func() (*finder.Kernel, error) { return finder.LoadPrograms(cfg.MaxBPFSockets) }
	return finder.Choose(cfg.Finder, load, root, cfg.CPUBudget)
}
