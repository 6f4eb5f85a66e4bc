// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
)

// finding is something that somebody should look at.
type finding struct {
	what  string
	where []string // which attachments, if it is about some
	todo  string
}

// otherBuild returns the finding that the plugin is of another build than the reaper, nil if it is not. The newest record
// counts: older ones were written before an upgrade.
func otherBuild(s api.Status) []finding {
	var newest api.AttachmentView
	for _, a := range s.Attachments {
		if a.Plugin != (buildinfo.Build{}) && !a.Recorded.Before(newest.Recorded) {
			newest = a
		}
	}
	plugin, own := newest.Plugin, s.Version.Build()
	if plugin == own || plugin == (buildinfo.Build{}) {
		return nil
	}
	return []finding{{
		what: fmt.Sprintf("the plugin is %s, and the reaper is %s", plugin, own),
		todo: `install both of one build: "halfclose install" for the plugin, a restart for the reaper; ` +
			`one that ADD started goes on as it is until it exits, or until "halfclose reaper" or the service takes over from it`,
	}}
}

// findings lists everything that is wrong. What is wrong with many attachments is one finding.
func findings(s api.Status) []finding {
	var l findingList
	if p := s.Mode.SwitchProblem; p != "" {
		l.add(p, "", `or set it anew with "halfclose mode observe" or "halfclose mode destroy"`)
	}
	if p := s.Mode.KernelProblem; p != "" {
		l.add("nothing can be destroyed here: "+p, "", `"halfclose doctor" says what this kernel and these privileges allow`)
	}
	if s.Finder.Late > 0 {
		l.add("sweeping is "+ago(s.Finder.Late)+" late, and so is what it finds", "", "give the reaper a higher --cpu-budget if that stays")
	}
	if s.Budget.Waiting > 0 {
		l.add(fmt.Sprintf("%s past the grace for --max-destroys-per-second %d", plural(s.Budget.Waiting, "socket waits", "sockets wait"), s.Budget.PerSecond),
			"", "raise it if that stays")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Counts.Errors)) {
		l.add(fmt.Sprintf("the kernel refused to destroy with %s, %s", name, plural64(s.Counts.Errors[name], "time", "times")), "", refusedTodo(name))
	}
	for _, a := range s.Attachments {
		l.addAttachment(a)
	}
	for _, p := range s.Problems {
		l.add("record "+p.File+": "+p.Problem, "", "delete the file if its pod is gone; else make the pod anew")
	}
	return l.list
}

type findingList struct{ list []finding }

// add adds a finding, or another place where it is so.
func (l *findingList) add(what, where, todo string) {
	i := slices.IndexFunc(l.list, func(f finding) bool { return f.what == what && f.todo == todo })
	if i < 0 {
		i = len(l.list)
		l.list = append(l.list, finding{what: what, todo: todo})
	}
	if where != "" {
		l.list[i].where = append(l.list[i].where, where)
	}
}

func (l *findingList) addAttachment(a api.AttachmentView) {
	name := podName(a.Pod, a.ContainerID) + " " + a.IfName
	if a.Inert != "" {
		l.add("inert, nothing is done: "+a.Inert, name, "if the container is gone there is nothing to do: its record goes within ten minutes; "+
			"if it runs, make it anew")
	}
	if a.Problem != "" {
		l.add(a.Problem, name, "it is tried again; if it stays, see the reaper's log")
	}
	if len(a.CappedBy) > 0 && a.Inert == "" {
		l.add("* the mode is more careful than the policy: "+strings.Join(a.CappedBy, "; "), name,
			`"halfclose mode" says what may be done on this node, and sets it`)
	}
	for _, w := range a.Warnings {
		if strings.HasPrefix(w, "no reaper runs") {
			l.add("when it was registered: "+w, name, `nothing for this attachment: a reaper runs now; "halfclose doctor" says whether ADD can start one`)
			continue
		}
		l.add(w, name, "correct the annotation or the network configuration, and make the pod anew: attachments keep their policy")
	}
}

func refusedTodo(errno string) string {
	switch errno {
	case "EPERM", "EACCES":
		return "the reaper needs CAP_NET_ADMIN in the user namespace that owns the pod's network namespace"
	case "EOPNOTSUPP":
		return "the kernel lacks CONFIG_INET_DIAG_DESTROY"
	}
	return "see the reaper's log"
}

// printFindings prints what is wrong, and what to do about it.
func (e *env) printFindings(s screen, list []finding) error {
	var b strings.Builder
	for i, f := range list {
		text := f.what
		if len(f.where) > 0 {
			text = firstFew(f.where) + ": " + text
		}
		text = fill(s.width, "! ", "  ", clean(text))
		if i == 0 || f.todo != list[i-1].todo {
			b.WriteString("\n")
		}
		b.WriteString(s.paint(odd, text[:1]) + text[1:] + "\n")
		if i == len(list)-1 || f.todo != list[i+1].todo { // else it is below the next
			b.WriteString(fill(s.width, "  > ", "    ", clean(f.todo)) + "\n")
		}
	}
	_, err := fmt.Fprint(e.out, b.String())
	return err
}

// firstFew names the first few.
func firstFew(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", len(names)-few)
}
