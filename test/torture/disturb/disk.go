// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/torture/model"
)

// disks keep plugin and reaper from writing to the state directory. A socket whose question cannot be recorded is not asked.
func disks() []Maker {
	return []Maker{
		maker("disk-full", 2, 5*time.Second, func(r *rand.Rand) run {
			lasts := between(r, time.Second, 4*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				return n.withoutWrites(ctx, lasts, n.fill)
			}
		}),
		maker("disk-read-only", 2, 5*time.Second, func(r *rand.Rand) run {
			lasts := between(r, time.Second, 4*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				return n.withoutWrites(ctx, lasts, n.setReadOnly)
			}
		}),
	}
}

// withoutWrites runs the node for a time on a state directory that prevent has made unwritable.
func (n *Node) withoutWrites(ctx context.Context, lasts time.Duration, prevent func() (undo func() error, err error)) ([]model.Effect, error) {
	resume := n.Pods.Pause()
	defer resume()
	since := model.Now()
	undo, err := prevent()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(sleep(ctx, lasts), undo()); err != nil {
		return nil, err
	}
	err = n.awaitReaper(ctx)
	return possibly(since, model.Down, model.OptionsChanged), err
}

// fill fills the file system of the state directory.
func (n *Node) fill() (undo func() error, err error) {
	path := filepath.Join(n.StateDir, ".filler")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	undo = func() error { return os.Remove(path) }
	for size := 1 << 20; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case err != nil:
			return nil, errors.Join(err, undo())
		}
	}
	return undo, nil
}

// setReadOnly mounts the state directory over itself, read-only. A mount with files that are open for writing cannot become
// read-only.
func (n *Node) setReadOnly() (undo func() error, err error) {
	if err := unix.Mount(n.StateDir, n.StateDir, "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("mount %s over itself: %w", n.StateDir, err)
	}
	undo = func() error { return os.NewSyscallError("umount", unix.Unmount(n.StateDir, unix.MNT_DETACH)) }
	if err := unix.Mount("", n.StateDir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("remount %s: %w", n.StateDir, err), undo())
	}
	return undo, nil
}
