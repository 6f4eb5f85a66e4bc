// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// sources are what a reaper finds sockets and their owners with.
type sources = reaper.Senses

// defaultFinder lets openSources choose.
const defaultFinder = reaper.FinderAuto

// finderNames lists the values of --finder.
func finderNames() []string { return reaper.FinderNames() }

// openSources opens the finder that the configuration names.
func openSources(cfg *Config, root *netns.Root) (*sources, error) {
	load := func() (*reaper.Kernel, error) { return reaper.LoadPrograms(cfg.MaxBPFSockets) }
	return reaper.Choose(cfg.Finder, load, root, cfg.CPUBudget)
}
