// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/test/torture/model"
)

// finders are changes of the finder.
func finders() []Maker {
	return []Maker{
		maker("other-finder", 2, 8*time.Second, func(r *rand.Rand) run {
			lasts := between(r, 2*time.Second, 5*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				args, other := n.Reaper.Args(), "sockdiag"
				if slices.Contains(args, finderFlag+other) {
					other = "auto"
				}
				effects, err := n.during(ctx, lasts, func() error {
					n.Reaper.SetArgs(withFinder(args, other)...)
					return n.Reaper.Start()
				}, args)
				if err == nil && other == "auto" {
					effects = append(effects, model.Possibly(model.RoleKnown, effects[0].Since, model.Forever, ""))
				}
				return effects, err
			}
		}),
		maker("bpf-refused", 1, 8*time.Second, func(r *rand.Rand) run {
			lasts := between(r, 2*time.Second, 5*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				args := n.Reaper.Args()
				return n.during(ctx, lasts, func() error {
					n.Reaper.SetArgs(withFinder(args, "auto")...) // "bpf" would not start
					_, err := n.Reaper.StartInjected([]uintptr{unix.SYS_BPF},
						inject.Fault{Calls: []uintptr{unix.SYS_BPF}, Effect: inject.Fail(unix.EPERM)})
					return err
				}, args)
			}
		}),
		// The programs fail while the reaper runs: it falls back to sock_diag, and recovers with an empty set. What no sweep has
		// shown before, only a walk finds then: the reaper has the time for it, as usual.
		maker("bpf-fails", 2, 28*time.Second, func(r *rand.Rand) run {
			skip, recovered := r.IntN(20), between(r, 8*time.Second, 10*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				args := n.Reaper.Args()
				var s *inject.Supervisor
				effects, err := n.replaceReaperBy(ctx, 0, func() (err error) {
					s, err = n.Reaper.StartInjected([]uintptr{unix.SYS_BPF})
					return err
				})
				if err != nil {
					return nil, err
				}
				since := effects[0].Since
				if isBPF, err := n.usesBPF(ctx); err != nil || !isBPF {
					more, err := n.replaceReaper(ctx, 0, args...)
					return append(effects, more...), err
				}
				fault := s.Inject(inject.Fault{Calls: []uintptr{unix.SYS_BPF}, Skip: skip, Effect: inject.Fail(unix.EIO)})
				if err := n.awaitStatus(ctx, "the finder falls back", func(s *api.Status) bool { return s.Finder.Name == "sockdiag" }); err != nil {
					return nil, err
				}
				fault.Lift()
				if err := sleep(ctx, retryPause); err != nil { // a question for the status would have everything read
					return nil, err
				}
				if err := n.awaitStatus(ctx, "the finder recovers", func(s *api.Status) bool { return s.Finder.Name == "bpf" }); err != nil {
					return nil, err
				}
				effects = append(possibly(since, model.Down, model.RoleUnknown), effects...)
				if err := sleep(ctx, recovered); err != nil {
					return nil, err
				}
				more, err := n.replaceReaper(ctx, 0, args...)
				return append(effects, more...), errors.Join(err, s.Err())
			}
		}),
	}
}

// retryPause is the time after which a reaper tries the programs again, and a little more.
const retryPause = 10*time.Second + 500*time.Millisecond

const finderFlag = "--finder="

// withFinder returns the arguments of a reaper with another finder.
func withFinder(args []string, finder string) []string {
	others := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, finderFlag) })
	return append(others, finderFlag+finder)
}

// usesBPF reports whether the finder is bpf.
func (n *Node) usesBPF(ctx context.Context) (bool, error) {
	s, err := n.client().Status(ctx)
	return s.Finder.Name == "bpf", err
}

// during replaces the reaper by another for a time. Until it ends, sockets may be found later, and their roles may be unknown.
func (n *Node) during(ctx context.Context, lasts time.Duration, start func() error, args []string) ([]model.Effect, error) {
	since := model.Now()
	if _, err := n.replaceReaperBy(ctx, 0, start); err != nil {
		return nil, err
	}
	if err := sleep(ctx, lasts); err != nil {
		return nil, err
	}
	if _, err := n.replaceReaper(ctx, 0, args...); err != nil {
		return nil, err
	}
	return possibly(since, model.Down, model.RoleUnknown), nil
}
