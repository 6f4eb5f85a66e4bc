// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package dirwatch

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// Instance is an inotify instance that several Watchers share: a user may have only 128 (fs.inotify.max_user_instances),
// and all containers of root share them. Its methods may be called from any goroutine.
type Instance struct {
	notify *fsnotify.Watcher
	err    error // why there is none

	mu        sync.Mutex
	listeners map[*listener]struct{}
	openings  map[string]*opening // of directories, see checkAnswer
	finished  chan struct{}
}

// listener receives the events of the directories that one Watcher follows. Instance.mu guards dirs and files.
type listener struct {
	dirs   map[string]bool
	files  map[string]struct{} // changed since the last burst; maxFiles+1 if there are more
	events chan struct{}       // capacity 1: files has the details
	errors chan error          // capacity 1: one error is as good as several
}

// add adds a changed file.
func (l *listener) add(file string) {
	if len(l.files) <= maxFiles {
		l.files[file] = struct{}{}
	}
	offer(l.events, struct{}{})
}

// take returns and forgets the changed files.
func (l *listener) take() (b Burst) {
	if len(l.files) > maxFiles {
		b.Missed = errTooManyFiles
	}
	b.Files = slices.Collect(maps.Keys(l.files))
	clear(l.files)
	return b
}

// NewInstance returns an inotify instance. If the kernel has none left, its Watchers only poll, and their Follow returns
// why.
func NewInstance() *Instance {
	i := &Instance{listeners: make(map[*listener]struct{}), openings: make(map[string]*opening), finished: make(chan struct{})}
	if i.notify, i.err = fsnotify.NewWatcher(); i.err != nil {
		i.err = fmt.Errorf("create an inotify instance: %w", i.err)
		close(i.finished)
		return i
	}
	go i.run()
	return i
}

// Watch returns a Watcher that follows nothing yet. It is closed before the Instance.
func (i *Instance) Watch(c Config) *Watcher {
	if i.err != nil {
		return &Watcher{config: c, err: i.err}
	}
	l := &listener{dirs: make(map[string]bool), files: make(map[string]struct{}), events: make(chan struct{}, 1), errors: make(chan error, 1)}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.listeners[l] = struct{}{}
	return start(c, source{
		events: l.events, errors: l.errors,
		add: func(dir string) error {
			if err := i.checkAnswer(dir); err != nil {
				return err
			}
			i.mu.Lock()
			l.dirs[filepath.Clean(dir)] = true // before the first event
			i.mu.Unlock()                      // run needs it, and Add may wait for run
			return i.notify.Add(dir)
		},
		take: func() Burst {
			i.mu.Lock()
			defer i.mu.Unlock()
			return l.take()
		},
		close: func() error {
			i.mu.Lock()
			defer i.mu.Unlock()
			delete(i.listeners, l)
			return nil
		},
	})
}

// Close releases the inotify instance.
func (i *Instance) Close() error {
	if i.err != nil {
		return nil
	}
	err := i.notify.Close()
	<-i.finished
	return err
}

// run passes events on until the instance is closed. It never waits for a Watcher.
func (i *Instance) run() {
	defer close(i.finished)
	for {
		select {
		case e, ok := <-i.notify.Events:
			if !ok {
				return
			}
			i.pass(func(l *listener) {
				if l.dirs[e.Name] || l.dirs[filepath.Dir(e.Name)] {
					l.add(e.Name)
				}
			})
		case err, ok := <-i.notify.Errors:
			if !ok {
				return
			}
			i.pass(func(l *listener) { offer(l.errors, err) })
		}
	}
}

func (i *Instance) pass(to func(*listener)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for l := range i.listeners {
		to(l)
	}
}

// offer sends a value unless one waits already.
func offer[T any](c chan<- T, v T) {
	select {
	case c <- v:
	default:
	}
}
