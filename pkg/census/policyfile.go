// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package census

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"github.com/halfclose/halfclose/pkg/policyfile"
)

// logPolicyFile logs and counts a change of the policy file.
func (w *Watcher) logPolicyFile(was, now *policyfile.Current) {
	log := w.Log.With("file", now.Path)
	switch {
	case len(now.Problems) > 0:
		if slices.Equal(was.Problems, now.Problems) {
			break
		}
		effect := "every pod is only observed, as there is no last good content"
		if now.File != nil {
			effect = "its last good content stays in force"
		}
		shown := now.Problems.First()
		w.Warnings.Fail(WarnPolicyFile, "wrong policy file: "+effect, "file", now.Path, "line", shown[0].Line, "key", shown[0].Key, "error", shown.Error(),
			"errors", len(now.Problems), "in_force_since", now.Since, "sha256", now.Digest)
	case now.File == nil && was.File != nil:
		log.Info("policy file deleted: it had no entries")
	case now.File != nil && (was.File != now.File || len(was.Problems) > 0):
		log.Info("policy file in force", "entries", len(now.File.Entries), "sha256", now.Digest, "since", now.Since)
	}
}

// refreshPolicyFile reads the policy file now.
func (w *Watcher) refreshPolicyFile(ctx context.Context) (policyfile.Current, bool) {
	if w.Follower == nil {
		return policyfile.Current{}, false
	}
	return w.Follower.Refresh(ctx)
}

// setPolicyFile takes over a changed policy file, and resolves the policies of all records again if it gives them others.
func (w *Watcher) setPolicyFile(c policyfile.Current) {
	w.logPolicyFile(&w.policyFile, &c)
	isSame := c.Same(&w.policyFile)
	w.policyFile = c
	w.roll.setPolicyFile(c)
	if isSame {
		return
	}
	for _, e := range slices.Collect(maps.Values(w.roll.entries)) {
		if !e.isActive() {
			continue
		}
		next := *e
		if next.resolved = w.resolve(e.record, nil); !reflect.DeepEqual(next.resolved, e.resolved) {
			w.roll.set(&next)
		}
	}
}
