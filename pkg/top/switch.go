// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// selected returns the pod that is open or selected, and reports whether there is one.
func (m *model) selected() (row, bool) {
	if m.open {
		return m.podRow()
	}
	if m.screen == screenPods {
		return m.pods.current()
	}
	return row{}, false
}

// promptSwitch asks which switch to set: that of the node, or of the selected pod or its namespace.
func (m *model) promptSwitch() tea.Cmd {
	keys := map[string]func() tea.Cmd{"n": func() tea.Cmd { return m.confirmSwitch(state.Scope{}) }}
	label := "Switch: n node"
	offer := func(key string, scope state.Scope) {
		if scope.Check() == nil {
			label += fmt.Sprintf(", %s %s", key, scope.ScopeName())
			keys[key] = func() tea.Cmd { return m.confirmSwitch(scope) }
		}
	}
	if r, ok := m.selected(); ok {
		pod := state.Scope{Namespace: r.a.Pod.Namespace, Pod: r.a.Pod.Name}
		if pod.Pod == "" {
			pod = state.Scope{ID: r.a.ContainerID}
		} else {
			offer("s", state.Scope{Namespace: pod.Namespace})
		}
		offer("p", pod)
	}
	m.prompt = &prompt{label: safetext.Escape(label) + "; other keys cancel", keys: keys}
	return nil
}

// confirmSwitch asks for a reason if the switch is to stop destroying, and confirms the answer. If it is set already, the
// question is whether to lift it.
func (m *model) confirmSwitch(scope state.Scope) tea.Cmd {
	where := safetext.Escape(scope.ScopeName())
	switches := state.Switches{Node: m.status.Mode.Switch, Scoped: m.status.Mode.Switches}
	confirm := func(question string, r api.ModeRequest) {
		m.prompt = &prompt{label: question + " y: yes, any other key: no", keys: map[string]func() tea.Cmd{
			"y": func() tea.Cmd { return m.setMode(r) },
		}}
	}
	if sw, ok := switches.Of(scope); ok && sw.Mode > policy.Destroy {
		overdue := describe.Plural(m.overdue(scope), "socket is", "sockets are")
		confirm(fmt.Sprintf("Allow destroying on %s? %s past the grace.", where, overdue), api.ModeRequest{Scope: scope, Mode: policy.Destroy})
		return nil
	}
	m.prompt = &prompt{label: "Reason to stop destroying on " + where + " (may be empty):", done: func(reason string) tea.Cmd {
		because := ""
		if reason != "" {
			because = fmt.Sprintf(", reason %q", reason)
		}
		confirm("Stop destroying on "+where+because+"?", api.ModeRequest{Scope: scope, Mode: policy.Observe, Reason: reason})
		return nil
	}}
	return nil
}

// setMode returns the command that sets a switch.
func (m *model) setMode(r api.ModeRequest) tea.Cmd {
	m.notice = "setting the switch ..."
	set := m.cfg.SetMode
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		return switched{done: fmt.Sprintf("the switch of %s is set to %v", r.ScopeName(), r.Mode), err: set(ctx, r)}
	}
}

// overdue returns the number of sockets past their grace that a switch covers.
func (m *model) overdue(scope state.Scope) (n int) {
	for _, r := range m.pods.all {
		if scope.Covers(r.a.Pod, r.a.ContainerID) {
			for _, overdue := range slices.Concat(r.a.Ages.CloseWait.Overdue[:], r.a.Ages.FinWait2.Overdue[:]) {
				n += overdue
			}
		}
	}
	return n
}

// switches describes the switches of pods and namespaces, "" if there are none.
func (m *model) switches() string {
	var names []string
	for _, sw := range m.status.Mode.Switches {
		names = append(names, fmt.Sprintf("%v for %s", sw.Mode, sw.ScopeName()))
	}
	return strings.Join(names, ", ")
}
