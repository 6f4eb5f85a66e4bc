// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/halfclose/halfclose/internal/writelog"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/descriptors"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/state"
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

// descriptors returns who holds descriptors of ended sockets.
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

// dirProbeInterval is the time between two attempts to write in the state directories.
const dirProbeInterval = 30 * time.Second

// probeDirs finds out whether plugin and reaper can write their files, until ctx is done. The plugin cannot report it: its ADD
// succeeds without a record unless failurePolicy is fail.
func (r *Reaper) probeDirs(ctx context.Context) {
	tick := time.NewTicker(dirProbeInterval)
	defer tick.Stop()
	persistent := filepath.Dir(r.cfg.SwitchPath)
	for {
		r.reportWrite(api.UnwritableAttachments, r.cfg.Store.AttachmentsDir(), r.cfg.Store.Probe())
		r.reportWrite(api.UnwritablePersistent, persistent, state.ProbeDir(persistent))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reportWrite stores the outcome of an attempt to write, and logs the first failure after a success.
func (r *Reaper) reportWrite(name, path string, err error) {
	isNew := r.cfg.Writes.Report(name, path, err, r.cfg.Clock.Wall())
	switch {
	case isNew && err != nil:
		r.warnings.fail(WarnWrites, "cannot write in a state directory", "dir", path, "error", err)
	case isNew:
		r.cfg.Log.Info("can write in the state directory again", "dir", path)
	}
}

// unwritable returns the files that could not be written when that was last tried.
func (l *loop) unwritable() []api.UnwritableView {
	list := []api.UnwritableView{} // empty instead of null in JSON
	for _, f := range l.cfg.Writes.Failures() {
		list = append(list, api.UnwritableView{Name: f.Name, Path: f.Path, Problem: f.Err, Since: f.Since, Errors: f.Errors})
	}
	return list
}

func (m *Metrics) addDescriptors(v api.DescriptorsView) {
	m.DescriptorsHeld, m.DescriptorsClosed, m.NearFileLimit = v.Held, v.Closed, len(v.NearLimit)
}

func (m *Metrics) addWrites(w *writelog.Log) {
	m.Unwritable, m.WriteErrors = make(map[string]bool), w.Errors()
	for name := range m.WriteErrors {
		m.Unwritable[name] = false
	}
	for _, f := range w.Failures() {
		m.Unwritable[f.Name] = true
	}
}
