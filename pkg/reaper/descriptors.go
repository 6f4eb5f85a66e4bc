// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"slices"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/descriptors"
	"github.com/halfclose/halfclose/pkg/monotime"
)

// watchDescriptors has the tracker find out whether the owners of a socket that has ended close its descriptors.
func (l *loop) watchDescriptors(c *candidate, inode uint32, at monotime.Time) {
	if l.cfg.Descriptors == nil {
		return
	}
	s := descriptors.Socket{Inode: inode, Ended: at, Pod: c.ns.records[0].Pod, Owners: c.ownersOf(inode)}
	if len(s.Owners) > 0 && len(c.owners.descriptors) > 0 {
		s.Owners = c.owners.descriptors
	}
	l.cfg.Descriptors.Ended(s)
}

// descriptors returns the processes that hold descriptors of ended sockets.
func (l *loop) descriptors() api.DescriptorsView {
	if l.cfg.Descriptors == nil {
		return api.DescriptorsView{Holders: []api.DescriptorHolder{}, NearLimit: []api.FileUse{}} // empty instead of null in JSON
	}
	return l.cfg.Descriptors.View()
}

// suspects returns the known owners of candidates, those of the most first.
func (r *Reaper) suspects(ctx context.Context) []descriptors.Suspect {
	counts := make(map[int]int)
	var list []descriptors.Suspect
	_ = r.each(ctx, func(*loop) {}, func(_ *loop, ns *registered) { // its error means that the reaper stops
		for _, c := range ns.candidates {
			for _, p := range c.ownersOf(c.shown.inode) {
				if counts[p.PID]++; counts[p.PID] == 1 {
					list = append(list, descriptors.Suspect{Process: p, Pod: ns.records[0].Pod})
				}
			}
		}
	})
	slices.SortFunc(list, func(a, b descriptors.Suspect) int {
		return cmp.Or(cmp.Compare(counts[b.PID], counts[a.PID]), cmp.Compare(a.PID, b.PID))
	})
	return list
}

func (m *Metrics) addDescriptors(v api.DescriptorsView) {
	m.DescriptorsHeld, m.DescriptorsClosed, m.NearFileLimit = v.Held, v.Closed, len(v.NearLimit)
}
