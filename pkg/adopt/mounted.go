// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// adoptMounts registers the network namespaces that are mounted in the configured directories, and removes the records of
// unmounted ones. It registers none that another record has: its policy is the container's.
func (p *pass) adoptMounts() {
	have := make(map[string]state.Record) // by path
	var others []netns.Identity           // registered by any other record
	for _, r := range p.listing.Records {
		switch {
		case r.Adopted && r.Network == state.MountedNetwork:
			have[r.AdoptedFrom] = r
		case r.Boot == p.boot:
			others = append(others, r.Netns.Identity)
		}
	}
	if len(p.cfg.Mounted) == 0 && len(have) == 0 {
		return
	}
	taken := make(map[string]bool) // names of registrations
	var mine []netns.Identity
	for _, dir := range p.cfg.Mounted {
		for _, path := range filesIn(p.root(), dir) {
			id, ok := p.mountedAt(path)
			if !ok || slices.ContainsFunc(others, id.Same) || slices.ContainsFunc(mine, id.Same) {
				continue
			}
			mine = append(mine, id)
			if r, found := have[path]; found && r.Boot == p.boot && r.Netns.Same(id) {
				delete(have, path)
				taken[r.ContainerID] = true
				continue
			}
			p.adoptMount(path, taken)
		}
	}
	for _, r := range have {
		p.release(r, "its network namespace is not mounted there any more, or another record has it")
	}
}

// mountedAt returns the network namespace at a path, without its cookie. It is false if there is none, or the host's own.
func (p *pass) mountedAt(path string) (id netns.Identity, ok bool) {
	h, err := p.cfg.Root.Open(path)
	if err != nil {
		return id, false
	}
	defer h.Close()
	id = h.Stat()
	return id, !slices.ContainsFunc(p.never, id.Same)
}

// adoptMount writes the record of a mounted network namespace.
func (p *pass) adoptMount(path string, taken map[string]bool) {
	h, err := p.cfg.Root.Open(path)
	if err != nil {
		return // unmounted since
	}
	defer h.Close()
	id, err := h.Identify()
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	name := nameOf(filepath.Base(path))
	if taken[name] || p.known[state.MountedAttachment(name)] {
		name = nameOf(path)
	}
	taken[name] = true
	written, err := p.cfg.Store.Adopt(state.Record{
		Network: state.MountedNetwork, Attachment: state.MountedAttachment(name), Boot: p.boot,
		Netns: state.Netns{Path: path, Identity: id}, Layers: mountedLayers(), Time: p.era.now.UTC(), AdoptedFrom: path,
	})
	switch {
	case err != nil:
		p.errs = append(p.errs, err)
	case written:
		p.adopted++
		p.ids = append(p.ids, id)
		p.cfg.Log.Info("registered a mounted network namespace", "name", name, "netns", path)
	}
}

// mountedLayers returns the policy of a mounted network namespace: it is observed unless the node's policy file says
// otherwise.
func mountedLayers() policy.Layers {
	return policy.Layers{
		Network:      policy.Layer{Source: state.SourceAdoptNetns, Values: policy.Values{Mode: new(policy.Observe)}},
		PodOverrides: policy.OverridesNone,
	}
}

// nameOf derives the name of a registration, which is like a container ID, from a path or its last part.
func nameOf(path string) string {
	name := strings.Map(func(r rune) rune {
		if r == '_' || r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, path)
	return strings.TrimLeft(name, "_.-")
}
