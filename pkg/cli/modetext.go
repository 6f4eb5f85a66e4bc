// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

func (e *env) printMode(r modeReport) error {
	if e.printsObject() {
		return e.printObject(r)
	}
	s := e.screen()
	var b strings.Builder
	line := func(label, text string) {
		b.WriteString(term.Fill(s.Width, fmt.Sprintf("%-10s", label), strings.Repeat(" ", 10), safetext.Escape(text)) + "\n")
	}
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
	_, err := fmt.Fprint(e.out, b.String())
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
func conservativeText(list []conservativeView) string {
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

// capReasons lists the caps that keep a node below m, with advice for the reaper's --mode.
func capReasons(v api.ModeView, m policy.Mode) []string {
	reasons := v.CapReasons(m)
	for i, limit := range v.Caps(m) {
		if limit == api.CapReaper {
			reasons[i] += fmt.Sprintf(" (start it with --mode %v)", m)
		}
	}
	return reasons
}

// who returns the name of the user for the switch file.
func (e *env) who() string {
	const maxWhoBytes = 100 // so that no name makes the switch invalid
	name := e.getenv("SUDO_USER")
	if name != "" {
		name += " (sudo)"
	} else if u, err := user.Current(); err == nil && u.Username != "" && u.Username != u.Uid { // in a container the user may have no name
		name = u.Username
	} else {
		name = "uid " + strconv.Itoa(os.Getuid())
	}
	return strings.ToValidUTF8(name[:min(len(name), maxWhoBytes)], "")
}
