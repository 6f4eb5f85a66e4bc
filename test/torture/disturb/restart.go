// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// restarts are the ends of the reaper.
func restarts() []Maker {
	return []Maker{
		maker("killed", 3, 4*time.Second, func(r *rand.Rand) run {
			pause := between(r, 0, 2*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) { return n.kill(ctx, pause) }
		}),
		maker("killed-while-asking", 3, 6*time.Second, func(r *rand.Rand) run {
			after, pause := between(r, 0, 30*time.Millisecond), between(r, 0, time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				// If no peer is asked, this is just another kill.
				asking, cancel := context.WithTimeout(ctx, 4*time.Second)
				defer cancel()
				_ = await(asking, "a peer is asked", func(context.Context) (bool, error) { return n.isAsking() })
				if err := sleep(ctx, after); err != nil {
					return nil, err
				}
				return n.kill(ctx, pause)
			}
		}),
		maker("terminated", 3, 4*time.Second, func(r *rand.Rand) run {
			pause := between(r, 0, 2*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				return n.replaceReaper(ctx, pause, n.Reaper.Args()...)
			}
		}),
		maker("handed-over", 2, 4*time.Second, func(*rand.Rand) run {
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				since := model.Now()
				if err := n.Reaper.HandOver(patience); err != nil {
					return nil, err
				}
				err := n.awaitReaper(ctx)
				return possibly(since, model.Down), err
			}
		}),
		maker("role-proven-before-restart", 2, 12*time.Second, func(r *rand.Rand) run {
			name := fmt.Sprintf("site-%x", r.Uint32())
			return func(ctx context.Context, n *Node) ([]model.Effect, error) { return n.proveRoleBeforeRestart(ctx, name) }
		}),
		maker("observing-reaper", 1, 6*time.Second, func(r *rand.Rand) run {
			lasts := between(r, time.Second, 4*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				args := n.Reaper.Args()
				effects, err := n.replaceReaper(ctx, 0, append(slices.Clip(args), "--mode", "observe")...)
				if err != nil {
					return effects, err
				}
				since := effects[0].Since
				from := model.Now()
				if err := sleep(ctx, lasts); err != nil {
					return nil, err
				}
				to := model.Now()
				if _, err = n.replaceReaper(ctx, 0, args...); err != nil {
					return nil, err
				}
				until := model.Now()
				return []model.Effect{
					{Kind: model.Observed, Since: since, From: from, To: to, Until: until},
					model.Possibly(model.Down, since, until, ""),
				}, nil
			}
		}),
	}
}

// isAsking reports whether the reaper has recorded sockets whose peers it asks.
func (n *Node) isAsking() (bool, error) {
	entries, err := os.ReadDir(filepath.Join(n.StateDir, "asked"))
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".armed") {
			return true, nil
		}
	}
	return false, err
}

// kill kills the reaper with SIGKILL, and starts another after a pause. The ages of the last ten seconds may be lost.
func (n *Node) kill(ctx context.Context, pause time.Duration) ([]model.Effect, error) {
	since := model.Now()
	if err := n.Reaper.Kill(); err != nil {
		return nil, err
	}
	if err := sleep(ctx, pause); err != nil {
		return nil, err
	}
	if err := n.Reaper.Start(); err != nil {
		return nil, err
	}
	err := n.awaitReaper(ctx)
	return possibly(since, model.Down, model.AgesMayRestart, model.OptionsChanged), err
}

// replaceReaper stops the reaper with SIGTERM, and starts another with other arguments after a pause.
func (n *Node) replaceReaper(ctx context.Context, pause time.Duration, args ...string) ([]model.Effect, error) {
	return n.replaceReaperBy(ctx, pause, func() error {
		n.Reaper.SetArgs(args...)
		return n.Reaper.Start()
	})
}

// replaceReaperBy stops the reaper with SIGTERM, and starts another by calling start after a pause.
func (n *Node) replaceReaperBy(ctx context.Context, pause time.Duration, start func() error) ([]model.Effect, error) {
	since := model.Now()
	code, err := n.Reaper.Stop(patience)
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, &Violation{fmt.Sprintf("after SIGTERM the reaper's exit code is %d", code)}
	}
	if err := sleep(ctx, pause); err != nil {
		return nil, err
	}
	if err := start(); err != nil {
		return nil, err
	}
	err = n.awaitReaper(ctx)
	return possibly(since, model.Down), err
}
