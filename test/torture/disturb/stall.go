// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/cgroup"
	"github.com/halfclose/halfclose/test/torture/model"
)

// stalls keep the reaper from running in time.
func stalls() []Maker {
	return []Maker{
		maker("stopped", 3, 3*time.Second, func(r *rand.Rand) run {
			times, lasts, gap := 1+r.IntN(5), between(r, 10*time.Millisecond, 600*time.Millisecond), between(r, 0, 20*time.Millisecond)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				since := model.Now()
				for range times {
					err := n.Reaper.Signal(unix.SIGSTOP)
					stopped := sleep(ctx, lasts)
					if err := errors.Join(err, stopped, n.Reaper.Signal(unix.SIGCONT), sleep(ctx, gap)); err != nil {
						return nil, err
					}
				}
				err := n.awaitReaper(ctx)
				return possibly(since, model.Down), err
			}
		}),
		maker("throttled", 2, 6*time.Second, func(r *rand.Rand) run {
			quota, lasts := between(r, 2*time.Millisecond, 8*time.Millisecond), between(r, 2*time.Second, 5*time.Second)
			return func(ctx context.Context, n *Node) (effects []model.Effect, err error) {
				group, err := cgroup.NewQuota(quota, 100*time.Millisecond, "halfclose-test-torture-")
				if err != nil {
					return nil, err
				}
				since := model.Now()
				err = group.Add(n.Reaper.PID())
				err = errors.Join(err, sleep(ctx, lasts))
				removed := await(context.WithoutCancel(ctx), "the cgroup is removed", func(context.Context) (bool, error) {
					err := group.Remove()
					return err == nil, err
				})
				if err = errors.Join(err, removed); err != nil {
					return nil, err
				}
				err = n.awaitReaper(ctx)
				return possibly(since, model.Down), err
			}
		}),
	}
}
