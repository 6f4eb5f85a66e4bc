// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// follower is told of changes in the directories of networks and plugins. Without one who is told, it only waits.
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

// follow sees to it that the directories that are there now are followed, and reports whether all of them are. One
// that was replaced is followed from its next call on.
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

// wait waits for a change to be over, or so long, and reports whether ctx lasted. A change is over when nothing
// has changed for as long as settle says.
func (f *follower) wait(ctx context.Context, long, settle time.Duration) bool {
	if f.notify == nil {
		return pause(ctx, long)
	}
	timer := time.NewTimer(long)
	defer timer.Stop()
	latest := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case _, ok := <-f.notify.Errors: // such as more changes at once than the kernel keeps: one looks anyway
			if !ok {
				return false
			}
		case <-f.notify.Events:
		}
		now := time.Now()
		if latest.IsZero() {
			latest = now.Add(10 * settle)
		}
		timer.Reset(min(settle, latest.Sub(now)))
	}
}
