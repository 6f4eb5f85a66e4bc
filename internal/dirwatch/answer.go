// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package dirwatch

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// errHangs means that the file system of a directory does not answer, such as FUSE or NFS without its server.
var errHangs = errors.New("its file system does not answer")

// answerPatience is longer than a busy node keeps a thread from running.
const answerPatience = 2 * time.Second

// opening is the opening of a directory.
type opening struct {
	done  chan struct{} // closed when it has returned
	hangs bool          // it has not returned within answerPatience
}

// checkAnswer returns errHangs if a directory cannot be opened within answerPatience, and nil for any other error. fsnotify
// adds no other directory, and reports no change, while the kernel adds one that hangs. An opening that hangs keeps a thread;
// there is at most one for each directory.
func (i *Instance) checkAnswer(dir string) error {
	i.mu.Lock()
	o := i.openings[dir]
	if o == nil {
		o = &opening{done: make(chan struct{})}
		i.openings[dir] = o
		go i.open(dir, o)
	}
	hangs := o.hangs
	i.mu.Unlock()
	if hangs {
		return fmt.Errorf("follow %s: %w: an earlier attempt has not returned", dir, errHangs)
	}
	timer := time.NewTimer(answerPatience)
	defer timer.Stop()
	select {
	case <-o.done:
		return nil
	case <-timer.C:
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	o.hangs = true
	return fmt.Errorf("follow %s: no answer within %v: %w", dir, answerPatience, errHangs)
}

func (i *Instance) open(dir string, o *opening) {
	if f, err := os.Open(dir); err == nil {
		_ = f.Close()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.openings, dir)
	close(o.done)
}
