// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"fmt"
	"slices"

	tea "charm.land/bubbletea/v2"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
)

// isStopped reports whether the node's switch keeps the reaper from destroying.
func (m *model) isStopped() bool {
	return m.status.Mode.Switch != nil && m.status.Mode.Switch.Mode > policy.Destroy
}

// promptMode asks whether to set the switch, and confirms the answer.
func (m *model) promptMode() tea.Cmd {
	to := policy.Observe
	what := "Stop destroying on this node?"
	if m.isStopped() {
		to = policy.Destroy
		what = "Allow destroying on this node?"
		if n := m.overdue(); n > 0 {
			what += fmt.Sprintf(" %s past the grace.", describe.Plural(n, "socket is", "sockets are"))
		}
	}
	m.prompt = &prompt{label: what + " y: yes, any other key: no", keys: map[string]func() tea.Cmd{
		"y": func() tea.Cmd { return m.setMode(api.ModeRequest{Mode: to}) },
	}}
	return nil
}

// modeHelp returns what the key does now.
func (m *model) modeHelp() string {
	if m.isStopped() {
		return "allow destroying"
	}
	return "stop destroying"
}

// setMode returns the command that sets the switch.
func (m *model) setMode(r api.ModeRequest) tea.Cmd {
	m.notice = "setting the switch ..."
	set := m.cfg.SetMode
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		return switched{done: fmt.Sprintf("the switch of this node is set to %v", r.Mode), err: set(ctx, r)}
	}
}

// overdue returns the number of sockets past their grace.
func (m *model) overdue() (n int) {
	for _, overdue := range slices.Concat(m.status.Ages.CloseWait.Overdue[:], m.status.Ages.FinWait2.Overdue[:]) {
		n += overdue
	}
	return n
}
