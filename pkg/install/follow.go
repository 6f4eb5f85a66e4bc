// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// follower waits for changes of the network and plugin directories. The zero follower gets no events and only waits.
type follower struct {
	root   hostfs.Dir
	dirs   []string
	notify *fsnotify.Watcher
}

func newFollower(c Config) (*follower, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return &follower{root: hostfs.Dir(c.HostRoot), dirs: []string{c.ConfDir, c.BinDir}, notify: notify}, nil
}

func (f *follower) close() {
	if f.notify != nil {
		f.notify.Close()
	}
}

// follow subscribes to the directories that exist now, and reports whether all do. A directory that was replaced is
// followed from the next call on.
func (f *follower) follow() bool {
	if f.notify == nil {
		return false
	}
	all := true
	for _, dir := range f.dirs {
		path, err := f.root.Resolve(dir)
		if err == nil {
			err = f.notify.Add(path)
		}
		all = all && err == nil
	}
	return all
}

// wait waits for a change to complete, but at most for timeout, and reports whether ctx is still valid. A change is
// complete after settle without an event, or after ten times that.
func (f *follower) wait(ctx context.Context, timeout, settle time.Duration) bool {
	if f.notify == nil {
		return sleep(ctx, timeout)
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	deadline := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case _, ok := <-f.notify.Errors: // such as an overflow of the kernel's queue, which is a change too
			if !ok {
				return false
			}
		case <-f.notify.Events:
		}
		now := time.Now()
		if deadline.IsZero() {
			deadline = now.Add(10 * settle)
		}
		timer.Reset(min(settle, deadline.Sub(now)))
	}
}
