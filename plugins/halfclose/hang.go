// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/internal/bounded"
)

// The bounds of waiting for files on a file system that may not answer, such as FUSE or NFS without its server: no pod waits
// longer.
const (
	filePatience = 10 * time.Second // for the work of a call
	dropPatience = 2 * time.Second  // for the removal of records after that
	statPatience = 2 * time.Second  // for the type of CNI_NETNS, after which skel's own check of it is skipped
)

// errHangs is the error of files that do not answer.
var errHangs = errors.New("a file system does not answer: the state directory's, or that of the network namespace or the plugin directory")

// guard does the work of a call on this thread. If that does not return within filePatience, guard ends the process: late
// returns the error of the call, nil for its success.
func (p *plugin) guard(do func() error, late func() *types.Error) error {
	timer := time.AfterFunc(filePatience, func() {
		code := p.conclude(late())
		p.exit(code)
	})
	err := do()
	if !timer.Stop() { // the process exits
		select {}
	}
	return err
}

// within returns the results of do, or errHangs if it does not return in time. It then still runs.
func within[T any](patience time.Duration, do func() (T, error)) (T, error) {
	r, late := bounded.Call(patience, do)
	if late != nil {
		return r.Value, errHangs
	}
	return r.Value, r.Err
}
