// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/halfclose/halfclose/internal/writelog"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/state"
)

// dirProbeInterval is the time between two attempts to write in the state directories.
const dirProbeInterval = 30 * time.Second

// probeDirs finds out whether plugin and reaper can write their files, until ctx is done. The plugin cannot report it: its ADD
// succeeds without a record unless failurePolicy is fail.
func (r *Reaper) probeDirs(ctx context.Context) {
	tick, cleanTick := time.NewTicker(r.probe), time.NewTicker(temporariesInterval)
	defer tick.Stop()
	defer cleanTick.Stop()
	persistent := filepath.Dir(r.cfg.SwitchPath)
	r.removeTemporaries()
	for {
		r.reportWrite(api.UnwritableAttachments, r.cfg.Store.AttachmentsDir(), r.cfg.Store.Probe())
		r.reportWrite(api.UnwritablePersistent, persistent, state.ProbeDir(persistent))
		if r.store != nil {
			s := r.store.Stats()
			r.cfg.Writes.Report(api.UnwritableHistory, s.Dir, problemError(s.Problem), r.cfg.Clock.Wall())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-cleanTick.C:
			r.removeTemporaries()
		}
	}
}

// temporariesInterval is the time between two removals of temporary files.
const temporariesInterval = 10 * time.Minute

// removeTemporaries removes the temporary files of killed processes: plugins, commands, and earlier reapers.
func (r *Reaper) removeTemporaries() {
	errs := []error{
		r.cfg.Store.Prune(),
		state.RemoveTemporaries(r.cfg.Store.Dir(), filepath.Base(r.cfg.Store.CandidatesPath()), "descriptors"),
	}
	if r.cfg.SwitchPath != "" {
		errs = append(errs, state.RemoveTemporaries(filepath.Dir(r.cfg.SwitchPath)))
	}
	if r.cfg.IdleDir != "" {
		errs = append(errs, state.RemoveTemporaries(r.cfg.IdleDir, "*.ndjson"))
	}
	if err := errors.Join(errs...); err != nil {
		r.warnings.warn(WarnWrites, "cannot remove temporary files of killed processes", "error", err)
	}
}

// problemError returns an error with the text of a problem, nil without one.
func problemError(problem string) error {
	if problem == "" {
		return nil
	}
	return errors.New(problem)
}

// reportPolicyCopy stores whether the copy of the policy file could be written.
func (l *loop) reportPolicyCopy(problem string) {
	if l.cfg.SwitchPath != "" {
		l.cfg.Writes.Report(api.UnwritablePolicy, filepath.Dir(l.cfg.SwitchPath), problemError(problem), l.clock.Wall())
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

func (m *Metrics) addWrites(w *writelog.Log) {
	m.Unwritable, m.WriteErrors = make(map[string]bool), w.Errors()
	for name := range m.WriteErrors {
		m.Unwritable[name] = false
	}
	for _, f := range w.Failures() {
		m.Unwritable[f.Name] = true
	}
}
