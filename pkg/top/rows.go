// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/state"
)

// row is one container with its sockets. Its attachments share them.
type row struct {
	key  string
	name string
	a    api.AttachmentView
	bad  bool // one of its attachments has a problem
}

// newRows returns one row for each container and namespace.
func newRows(s api.Status) []row {
	rows := make([]row, 0, len(s.Attachments))
	seen := make(map[string]int, len(s.Attachments))
	for _, a := range s.Attachments {
		key := a.ContainerID + " " + a.Netns
		bad := describe.HasProblem(&a)
		if i, ok := seen[key]; ok {
			rows[i].bad = rows[i].bad || bad
			continue
		}
		seen[key] = len(rows)
		rows = append(rows, row{key: key, name: safetext.Escape(rowName(a)), a: a, bad: bad})
	}
	return rows
}

// rowName returns the name of an attachment. A name that an operator chose is not shortened.
func rowName(a api.AttachmentView) string {
	if a.Network == state.ManualNetwork {
		return a.ContainerID
	}
	return describe.Pod(a.Pod, a.ContainerID)
}

func (r row) sockets(s inetdiag.State) int { return r.a.Candidates[s.String()] }

func (r row) total() int { return r.sockets(inetdiag.CloseWait) + r.sockets(inetdiag.FinWait2) }

// destroyed returns the number of sockets that were destroyed or observed.
func (r row) destroyed() uint64 { return r.a.Destroyed + r.a.WouldDestroy }
