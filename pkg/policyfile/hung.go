// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile

import (
	"fmt"
	"time"

	"github.com/halfclose/halfclose/internal/bounded"
)

// contents are the results of ReadFile.
type contents struct {
	data []byte
	dirs []string
}

// readPatience bounds the wait for a file whose file system may not answer, such as NFS without its server. No record counts
// before the policy file is known. It is longer than a busy node keeps a thread from running.
const readPatience = 2 * time.Second

// readFile is ReadFile of the policy file, and an error if that does not return within readPatience. One reading at most is
// under way; until it returns each call returns the error at once.
func (r *reader) readFile() (data []byte, dirs []string, err error) {
	if r.pending != nil {
		select {
		case <-r.pending: // the file may have changed since
		default:
			return nil, r.dirs, r.errHangs()
		}
	}
	path := r.at.Path
	c, late := bounded.Call(readPatience, func() (c contents, err error) {
		c.data, c.dirs, err = ReadFile(path)
		return c, err
	})
	if r.pending = late; late != nil {
		return nil, r.dirs, r.errHangs()
	}
	return c.Value.data, c.Value.dirs, c.Err
}

func (r *reader) errHangs() error {
	return fmt.Errorf("%s: its file system does not answer within %v", r.at.Path, readPatience)
}
