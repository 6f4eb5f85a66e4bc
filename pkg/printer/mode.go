// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// ModeReport is the output of halfclose mode. Without a reaper it has only the switch, which applies to the next one.
type ModeReport struct {
	Running bool `json:"running"` // a reaper is running
	*api.ModeView
	SwitchFile string        `json:"switchFile"`
	Switch     *state.Switch `json:"switch,omitempty"`
	// Switches are those of pods, namespaces and containers that have not ended.
	Switches      []state.Switch `json:"switches,omitempty"`
	SwitchProblem string         `json:"switchProblem,omitempty"`
	// Due has the sockets and peers that "mode destroy" has released; nil for other commands, or if the reaper did not answer.
	Due *api.DryRun `json:"due,omitempty"`
	// Unregistered is set if the switch that was set is of a pod without an attachment on this node.
	Unregistered string `json:"unregistered,omitempty"`
	// Conservative lists the attachments whose policy is more conservative than the node.
	Conservative []ConservativeView `json:"moreConservative,omitempty"`
}

// ConservativeView is an attachment with a policy that is more conservative than the node.
type ConservativeView struct {
	state.Attachment
	Pod  state.Pod   `json:"pod"`
	Mode policy.Mode `json:"mode"`
}

// PrintMode prints a report as text or, with PrintsObject, as an object.
func (p *Printer) PrintMode(r *ModeReport) error {
	if p.PrintsObject() {
		return p.PrintObject(r)
	}
	s := p.Screen()
	var b strings.Builder
	line := func(label, text string) { b.WriteString(labelled(s, label, text)) }
	if r.Running {
		line("Mode", r.Effective.String())
	} else {
		line("Mode", "no reaper is running; the switch applies when one starts")
	}
	line("Switch", switchText(r.Switch, r.SwitchProblem)+" (in "+r.SwitchFile+")")
	for _, sw := range r.Switches {
		line("", fmt.Sprintf("%s: %s", sw.ScopeName(), switchText(&sw, "")))
	}
	if r.Running {
		line("Reaper", r.Reaper.String()+" (--mode)")
		line("Kernel", kernelText(cmp.Or(r.KernelProblem, r.NetnsProblem)))
	}
	if len(r.Conservative) > 0 {
		line("Note", conservativeText(r.Conservative))
	}
	if r.Unregistered != "" {
		line("Note", r.Unregistered+" is not registered (yet): the switch applies once it is")
	}
	if r.Due != nil && r.Due.Destroys+r.Due.Questions > 0 {
		line("Now", dueText(r.Due))
	}
	_, err := fmt.Fprint(p.Out, b.String())
	return err
}

func switchText(sw *state.Switch, problem string) string {
	switch {
	case problem != "":
		return "cannot be read, which counts as observe: " + problem
	case sw == nil:
		return "not set"
	}
	return fmt.Sprintf("%v, set by %s", sw.Mode, sw.By())
}

func kernelText(problem string) string {
	if problem == "" {
		return "lets sockets be destroyed"
	}
	return "observe: " + problem
}

// conservativeText lists the first few attachments that are more conservative than the node.
func conservativeText(list []ConservativeView) string {
	const few = 5
	names := make([]string, 0, few)
	for _, c := range list[:min(few, len(list))] {
		names = append(names, fmt.Sprintf("%s %s (%v)", describe.Pod(c.Pod, c.ContainerID), c.IfName, c.Mode))
	}
	text := describe.Plural(len(list), "attachment is more conservative by its", "attachments are more conservative by their") + " own policy: " + strings.Join(names, ", ")
	if more := len(list) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// pace returns the rate limits that delay the work of a dry run, "" if none does.
func pace(run *api.DryRun) string {
	var limits []string
	if n := run.DestroysPerSecond; n > 0 && run.Destroys > n {
		limits = append(limits, fmt.Sprintf("%d destroys", n))
	}
	if n := run.AsksPerSecond; n > 0 && run.Questions > n {
		limits = append(limits, fmt.Sprintf("%d questions", n))
	}
	if len(limits) == 0 {
		return ""
	}
	return ", at " + strings.Join(limits, " and ") + " a second"
}

// dueText describes the sockets and peers that a switch to destroy has released.
func dueText(run *api.DryRun) string {
	var destroys, asks int
	for _, p := range run.Pods {
		if p.Destroys > 0 {
			destroys++
		}
		if p.Questions > 0 {
			asks++
		}
	}
	var parts []string
	if run.Destroys > 0 {
		are := "are past their grace and go now"
		if run.Destroys == 1 {
			are = "is past its grace and goes now"
		}
		parts = append(parts, fmt.Sprintf("%s in %s %s", describe.Plural(run.Destroys, "socket", "sockets"), describe.Plural(destroys, "pod", "pods"), are))
	}
	if run.Questions > 0 {
		parts = append(parts, fmt.Sprintf("%s of %s due to be asked now", describe.Plural(run.Questions, "peer", "peers"), describe.Plural(asks, "pod", "pods")))
	}
	return strings.Join(parts, "; ") + pace(run)
}

// NewModeReport returns the report of a running reaper.
func NewModeReport(view api.ModeView, attachments []api.AttachmentView) ModeReport {
	r := ModeReport{
		Running: true, ModeView: &view, SwitchFile: view.SwitchFile, Switch: view.Switch, Switches: view.Switches, SwitchProblem: view.SwitchProblem,
	}
	for _, a := range attachments {
		if a.Inert == "" && a.Policy.Mode > view.Effective {
			r.Conservative = append(r.Conservative, ConservativeView{Attachment: a.Attachment, Pod: a.Pod, Mode: a.Policy.Mode})
		}
	}
	return r
}
