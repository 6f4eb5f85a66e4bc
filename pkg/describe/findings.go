// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"maps"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
)

// Kind is what a Finding is about.
type Kind int

// The kinds, in the order of their importance: those of the node, of an attachment, of a file.
const (
	SwitchUnreadable Kind = iota // Text is why
	KernelRefuses                // no socket can be destroyed; Text is why
	Refused                      // the reaper is kept from something; Refusal says from what
	AskingSuspended              // no peer is asked: Count threads are blocked
	AskedLost                    // Count sockets may have kept the options of a question
	AskedUnreadable              // Count records of sockets that an earlier reaper was asking about cannot be read
	FinderLate                   // the status has how late
	BudgetWaiting                // Count sockets wait for --max-destroys-per-second
	DestroysRefused              // the kernel has refused Count destroys with the errno Text
	Inert                        // nothing is done about the attachment; Text is why
	Unreachable                  // the network namespace of the attachment cannot be entered; Text is why
	SweepFailed                  // the namespace of the attachment cannot be read; Text is why
	Blocked                      // a file keeps the attachment from more than being observed; Text is which, and why
	ModeCapped                   // the mode of the attachment is below that of its policy; Text is why
	Warned                       // Text is a warning of the plugin's
	NotARecord                   // Text is a file in the state directory, and what it is not
)

// Finding is one thing that a person should look at. Its text is not yet safe to show.
type Finding struct {
	Kind       Kind
	Text       string
	Count      uint64
	Refusal    *api.RefusalView    // of Refused
	Attachment *api.AttachmentView // nil if it is about the node or a file
}

// Findings lists what a person should look at on a node.
func Findings(s api.Status) []Finding {
	var list []Finding
	if p := s.Mode.SwitchProblem; p != "" {
		list = append(list, Finding{Kind: SwitchUnreadable, Text: p})
	}
	if p := s.Mode.KernelProblem; p != "" {
		list = append(list, Finding{Kind: KernelRefuses, Text: p})
	}
	for i := range s.Refusals {
		list = append(list, Finding{Kind: Refused, Refusal: &s.Refusals[i], Text: s.Refusals[i].Problem})
	}
	if p := s.Peers; p.Suspended {
		list = append(list, Finding{Kind: AskingSuspended, Count: uint64(p.Stuck)})
	}
	if n := s.Peers.Lost + uint64(s.Peers.Missing); n > 0 {
		list = append(list, Finding{Kind: AskedLost, Count: n})
	}
	if n := s.Peers.Unreadable; n > 0 {
		list = append(list, Finding{Kind: AskedUnreadable, Count: n})
	}
	if s.Finder.Late > 0 {
		list = append(list, Finding{Kind: FinderLate})
	}
	if s.Budget.Waiting > 0 {
		list = append(list, Finding{Kind: BudgetWaiting, Count: uint64(s.Budget.Waiting)})
	}
	for _, errno := range slices.Sorted(maps.Keys(s.Counts.Errors)) {
		list = append(list, Finding{Kind: DestroysRefused, Text: errno, Count: s.Counts.Errors[errno]})
	}
	for i := range s.Attachments {
		list = append(list, AttachmentFindings(&s.Attachments[i])...)
	}
	for _, p := range s.Problems {
		list = append(list, Finding{Kind: NotARecord, Text: "record " + p.File + ": " + p.Problem})
	}
	return list
}

// AttachmentFindings lists what a person should look at of one attachment.
func AttachmentFindings(a *api.AttachmentView) []Finding {
	var list []Finding
	if a.Inert != "" {
		list = append(list, Finding{Kind: Inert, Text: a.Inert, Attachment: a})
	}
	switch {
	case a.Unreachable != "":
		list = append(list, Finding{Kind: Unreachable, Text: a.Unreachable, Attachment: a})
	case a.Problem != "":
		list = append(list, Finding{Kind: SweepFailed, Text: a.Problem, Attachment: a})
	}
	if a.Inert == "" {
		for _, h := range a.BlockedBy {
			list = append(list, Finding{Kind: Blocked, Text: "record " + h.File + ": " + h.Problem, Attachment: a})
		}
		if by := a.CappedBy[:max(0, len(a.CappedBy)-len(a.BlockedBy))]; len(by) > 0 {
			list = append(list, Finding{Kind: ModeCapped, Text: strings.Join(by, "; "), Attachment: a})
		}
	}
	for _, w := range a.Warnings {
		list = append(list, Finding{Kind: Warned, Text: w, Attachment: a})
	}
	return list
}

// HasProblem reports whether something is wrong with an attachment. A capped mode is not: an operator wants it so.
func HasProblem(a *api.AttachmentView) bool {
	return slices.ContainsFunc(AttachmentFindings(a), func(f Finding) bool { return f.Kind != ModeCapped })
}
