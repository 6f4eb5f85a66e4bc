// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/halfclose/halfclose/test/torture/model"
)

// Count returns the number of findings of a fault.
func (r *Report) Count(f Fault) (n int) {
	for i := range r.Findings {
		if r.Findings[i].Fault == f {
			n++
		}
	}
	return n
}

// WriteSchedule writes all that is known of a failing socket, with times from the start of the run.
func (f *Finding) WriteSchedule(w io.Writer, run *model.Run, start model.Time) {
	s := f.Socket
	at := func(t model.Time) string { return when(t, start) }
	fmt.Fprintf(w, "%s by %v: %s, %s in %s (loopback %v, role %d, owners %v, ports %d to %d)\n", f.Fault, f.By.Round(time.Millisecond), s.ID, s.Kind,
		s.Netns, s.Loopback, s.Role, s.Commands, s.LocalPort, s.PeerPort)
	fmt.Fprintf(w, "  allowed: destroy %s, question %s; required by %s\n", intervals(f.Expect.Destroy, start), intervals(f.Expect.Question, start), at(f.Expect.Latest))
	if s.End != nil {
		fmt.Fprintf(w, "  ended: %s between %s and %s\n", howNames[s.End.How], at(s.End.From), at(s.End.To))
	} else {
		fmt.Fprintf(w, "  was alive at %s\n", at(s.Until))
	}
	writeEvents(w, s, start)
	if p := s.Partner; p != nil {
		fmt.Fprintf(w, "  the other end, %s:\n", p.ID)
		writeEvents(w, p, start)
		if p.End != nil {
			fmt.Fprintf(w, "    ended: %s between %s and %s\n", howNames[p.End.How], at(p.End.From), at(p.End.To))
		}
	}
	if ns := run.Namespaces[s.Netns]; ns != nil {
		for _, ifname := range slices.Sorted(maps.Keys(ns.Attachments)) {
			for _, c := range ns.Attachments[ifname] {
				fmt.Fprintf(w, "  %s to %s %s: %s\n", at(c.Span.Before), at(c.Span.After), ifname, policyText(c.Policy))
			}
		}
	}
	for i := range run.Effects {
		if e := &run.Effects[i]; (e.Netns == "" || e.Netns == s.Netns) && len(s.Events) > 0 && e.Until >= s.Events[0].Span.Before && e.Since <= end(s) {
			fmt.Fprintf(w, "  %s to %s %s: kind %v, certain from %s to %s\n", at(e.Since), at(e.Until), e.Why, e.Kind, at(e.From), at(e.To))
		}
	}
}

func end(s *model.Socket) model.Time {
	if s.End != nil {
		return s.End.To
	}
	return s.Until
}

func writeEvents(w io.Writer, s *model.Socket, start model.Time) {
	for _, e := range s.Events {
		fmt.Fprintf(w, "    %s to %s %s", when(e.Span.Before, start), when(e.Span.After, start), e.Kind)
		if e.Kind == model.HalfClosed {
			fmt.Fprintf(w, " %s", e.State)
		}
		if e.Unread > 0 {
			fmt.Fprintf(w, ", %d bytes unread", e.Unread)
		}
		fmt.Fprintln(w)
	}
}

func when(t, start model.Time) string {
	if t == model.Forever {
		return "never"
	}
	return fmt.Sprintf("%.3fs", (t - start).Seconds())
}

func intervals(all []model.Interval, start model.Time) string {
	texts := make([]string, 0, len(all))
	for _, v := range all {
		texts = append(texts, when(v.From, start)+" to "+when(v.To, start))
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func policyText(p *model.Policy) string {
	if p == nil {
		return "deleted"
	}
	return p.String()
}
