// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// turn is a reaper's wait for the lock of its state directory.
type turn struct {
	me     api.Holder
	path   string
	client *admin.Client
	wait   bool // however long it takes
	scrape *admin.Scrape
	log    *slog.Logger
}

// The times of a turn: how often the lock is tried, and for how long while its holder may be ending.
const (
	tryEvery  = 10 * time.Millisecond
	askEvery  = 250 * time.Millisecond
	yieldTime = 5 * time.Second
	graceTime = time.Second
)

// take waits for the lock as long as it may be had: a moment in any case, since its holder may be about to
// end; longer if the holder was started by the plugin, which then is asked to hand over; as long as it
// takes with --wait. It returns no lock and no error when ctx ends first.
func (t *turn) take(ctx context.Context) (*reaper.Lock, error) {
	began := time.Now()
	var asked time.Time
	said := false
	tick := time.NewTicker(tryEvery)
	defer tick.Stop()
	for {
		lock, err := reaper.Acquire(t.path, t.me)
		held, ok := errors.AsType[*reaper.HeldError](err)
		if !ok {
			return lock, err
		}
		t.scrape.None("the reaper waits for its turn: " + held.Error())
		patience := graceTime
		if t.me.StartedBy != api.ByPlugin && held.Holder.StartedBy == api.ByPlugin {
			patience = yieldTime
			if time.Since(asked) >= askEvery {
				asked = time.Now()
				if err := t.ask(ctx); err != nil {
					t.log.Debug("ask the other reaper to hand over", "error", err)
				}
			}
		}
		switch {
		case !t.wait && time.Since(began) > patience:
			return nil, err
		case t.wait && !said:
			said = true
			t.log.Info("wait for the other reaper to end", "holder", held.Holder.String())
		}
		select {
		case <-ctx.Done():
			return nil, nil //nolint:nilnil // ended before its turn came: there is neither
		case <-tick.C:
		}
		if time.Since(began) > yieldTime { // it will take long
			tick.Reset(askEvery)
		}
	}
}

// ask asks the other reaper to hand over. One that does not answer must not hold this one up.
func (t *turn) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	return t.client.HandOver(ctx)
}
