// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"

	"github.com/halfclose/halfclose/pkg/api"
)

// Reload reads the records, what their paths lead to and the mode switch again, now and whether or not any
// change was announced. When it returns, what is done follows them. It says in the log what it found.
func (r *Reaper) Reload(ctx context.Context) error {
	taken := make(chan struct{})
	select {
	case r.recounts <- taken:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ended:
		return api.ErrStopped
	}
	select {
	case <-taken:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ended:
		return api.ErrStopped
	}
	return r.read(ctx, func(l *loop) {
		if l.caps.reload() {
			l.remode(l.clock.Now())
		}
		c := &l.registry.census
		l.log.Info("records and mode switch read again", "attachments", len(c.records), "inert", len(c.inert),
			"problems", len(c.problems), "mode", l.caps.view.Effective.String())
	})
}
