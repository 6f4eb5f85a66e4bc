// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/term"
)

// finding is something that somebody should look at.
type finding struct {
	what  string
	where []string // which attachments, if it is about some
	todo  string
}

// otherBuilds returns the findings that the plugin, or this command, is of another build than the reaper. For the plugin
// the newest record counts: older ones were written before an upgrade. A reaper of a build that knows no such field does
// not return it.
func otherBuilds(s api.Status, command buildinfo.Build) []finding {
	var newest api.AttachmentView
	for _, a := range s.Attachments {
		if a.Plugin != (buildinfo.Build{}) && !a.Recorded.Before(newest.Recorded) {
			newest = a
		}
	}
	reaper := s.Version.Build()
	var list []finding
	add := func(what string, build buildinfo.Build) {
		if build != reaper && build != (buildinfo.Build{}) {
			list = append(list, finding{
				what: fmt.Sprintf("%s is %s, and the reaper is %s", what, build, reaper),
				todo: `install both of one build: "halfclose install" for the plugin, a restart for the reaper; ` +
					`one that ADD started goes on as it is until it exits, or until "halfclose reaper" or the service takes over from it`,
			})
		}
	}
	add("the plugin", newest.Plugin)
	add("this command", command)
	return list
}

// findings lists what a person should look at, with what to do about it. What many attachments have is one finding.
func findings(s api.Status) []finding {
	var l findingList
	for _, f := range describe.Findings(s) {
		where := ""
		if a := f.Attachment; a != nil {
			where = describe.Pod(a.Pod, a.ContainerID) + " " + a.IfName
		}
		what, todo := advice(s, f)
		l.add(what, where, todo)
	}
	return l.list
}

// advice says what a finding is, and what to do about it.
func advice(s api.Status, f describe.Finding) (what, todo string) {
	switch f.Kind {
	case describe.SwitchUnreadable:
		return f.Text, `or set it again with "halfclose mode observe" or "halfclose mode destroy"`
	case describe.KernelRefuses:
		return "nothing can be destroyed here: " + f.Text, `"halfclose doctor" says what this kernel and these privileges allow`
	case describe.Refused:
		return describe.Refusal(*f.Refusal), f.Refusal.Do
	case describe.AskingSuspended:
		return fmt.Sprintf("no peer is asked: %s blocked in closing a duplicate of a descriptor", describe.Plural(f.Count, "thread is", "threads are")),
			"it goes on once fewer are; a socket with SO_LINGER and an unreachable peer blocks them, until its time is over"
	case describe.AskedLost:
		return fmt.Sprintf("%s may have kept the keepalive options of a question: no descriptor leads to %s",
				describe.Plural(f.Count, "socket", "sockets"), map[bool]string{true: "it", false: "them"}[f.Count == 1]),
			"nothing, unless their programs run and rely on keepalive: restart these then"
	case describe.AskedUnreadable:
		return fmt.Sprintf("%s of sockets that an earlier reaper asked about cannot be read: these keep the keepalive options of a question", describe.Plural(f.Count, "record", "records")),
			"the reaper's log names them; restart the programs that rely on keepalive"
	case describe.Unreachable:
		return "cannot be entered, so nothing there can be looked at or destroyed: " + f.Text, `it is tried again every 10s; "halfclose doctor" tries it too, and says what to grant`
	case describe.FinderLate:
		return "sweeping is " + describe.Age(s.Finder.Late) + " late, and so is what it finds", "give the reaper a higher --cpu-budget if that stays"
	case describe.BudgetWaiting:
		return fmt.Sprintf("%s past the grace for --max-destroys-per-second %d", describe.Plural(f.Count, "socket waits", "sockets wait"), s.Budget.PerSecond),
			"raise it if that stays"
	case describe.DestroysRefused:
		return fmt.Sprintf("the kernel refused to destroy with %s, %s", f.Text, describe.Plural(f.Count, "time", "times")), refusedTodo(f.Text)
	case describe.Inert:
		return "inert, nothing is done: " + f.Text, "if the container is gone there is nothing to do: its record goes within ten minutes; " +
			"if it runs, recreate it"
	case describe.SweepFailed:
		return f.Text, "it is tried again; if it stays, see the reaper's log"
	case describe.Blocked:
		return "* only observed, since a file names its network namespace: " + f.Text,
			"it may ask for less than the other records do: delete it if its attachment is gone, else recreate the pod"
	case describe.ModeCapped:
		return "* the mode is more conservative than the policy: " + f.Text, `"halfclose mode" says what may be done on this node, and sets it`
	case describe.NotARecord:
		return f.Text, "delete the file if its pod is gone; else recreate the pod"
	case describe.Warned:
		if strings.HasPrefix(f.Text, "no reaper runs") {
			return "when it was registered: " + f.Text, `nothing for this attachment: a reaper runs now; "halfclose doctor" says whether ADD can start one`
		}
	}
	return f.Text, "correct the annotation or the network configuration, and recreate the pod: attachments keep their policy"
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
func (e *env) printFindings(s term.Screen, list []finding) error {
	var b strings.Builder
	for i, f := range list {
		text := f.what
		if len(f.where) > 0 {
			text = firstFew(f.where) + ": " + text
		}
		text = term.Fill(s.Width, "! ", "  ", term.Clean(text))
		if i == 0 || f.todo != list[i-1].todo {
			b.WriteString("\n")
		}
		b.WriteString(s.Paint(term.Odd, text[:1]) + text[1:] + "\n")
		if i == len(list)-1 || f.todo != list[i+1].todo { // else it is below the next
			b.WriteString(term.Fill(s.Width, "  > ", "    ", term.Clean(f.todo)) + "\n")
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
