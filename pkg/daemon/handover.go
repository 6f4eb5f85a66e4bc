// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
)

const (
	lockRetry        = 10 * time.Millisecond  // between two attempts to take the lock
	lockPatience     = time.Second            // longest wait for a holder that may be about to exit
	handOverRetry    = 250 * time.Millisecond // between two requests to hand over, and for the answer to each
	handOverPatience = 5 * time.Second        // longest wait for a holder that was asked to hand over
)

// awaitLock takes the lock of the state directory. If another reaper holds the lock, awaitLock waits for lockPatience, or
// without a bound with Config.Wait. It asks a holder that the plugin started to hand over, and waits for handOverPatience,
// unless the plugin started this reaper too.
//
// It returns no lock and no error if ctx ends first.
func (d *Daemon) awaitLock(ctx context.Context) (*Lock, error) {
	client := admin.NewClient(d.store.SocketPath())
	began := time.Now()
	var asked time.Time
	logged := false
	tick := time.NewTicker(lockRetry)
	defer tick.Stop()
	for {
		lock, err := Acquire(d.store.LockPath(), d.me)
		held, ok := errors.AsType[*HeldError](err)
		if !ok {
			return lock, err
		}
		d.metrics.scrape.SetUnavailable("this reaper waits for the lock: " + held.Error())
		patience := lockPatience
		if d.me.StartedBy != api.ByPlugin && held.Holder.StartedBy == api.ByPlugin {
			patience = handOverPatience
			if time.Since(asked) >= handOverRetry {
				asked = time.Now()
				if err := requestHandOver(ctx, client); err != nil {
					d.log.Debug("cannot ask the other reaper to hand over", "error", err)
				}
			}
		}
		switch {
		case !d.cfg.Wait && time.Since(began) > patience:
			return nil, err
		case d.cfg.Wait && !logged:
			logged = true
			d.log.Info("waiting for the other reaper to exit", "holder", held.Holder.String())
		}
		select {
		case <-ctx.Done():
			return nil, nil //nolint:nilnil // the process was stopped while it waited
		case <-tick.C:
		}
		if time.Since(began) > handOverPatience { // the wait may be long
			tick.Reset(handOverRetry)
		}
	}
}

// requestHandOver asks the other reaper to hand over, and waits up to handOverRetry for the answer.
func requestHandOver(ctx context.Context, client *admin.Client) error {
	ctx, cancel := context.WithTimeout(ctx, handOverRetry)
	defer cancel()
	return client.HandOver(ctx)
}
