// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
)

// Kind is the subject of a Finding.
type Kind int

// The kinds: of the node, of an attachment, of a file.
const (
	SwitchUnreadable    Kind = iota // Text is the reason
	Unregistered                    // nothing is registered; see Adoption
	KernelRefuses                   // no socket can be destroyed; Text is the reason
	Refused                         // the reaper lacks a privilege; see Refusal
	AskingSuspended                 // no peer is asked: Count threads are blocked
	AskedLost                       // Count sockets may have kept the keepalive options of the reaper
	AskedUnreadable                 // Count records of an earlier reaper's asked sockets cannot be read
	FinderLate                      // Text is the delay of the sweeps
	DestroysRefused                 // the kernel has refused Count destroys with the errno Text
	BudgetWaiting                   // Count sockets wait for --max-destroys-per-second, which is Text
	Inert                           // the reaper ignores the attachment; Text is the reason
	Unreachable                     // the network namespace of the attachment cannot be entered; Text is the reason
	SweepFailed                     // the sockets of the attachment cannot be listed; Text is the reason
	Blocked                         // an unreadable record caps the attachment at observe; Text is the file and the reason
	ModeCapped                      // the mode of the attachment is below that of its policy; Text is the reason
	Warned                          // Text is a warning of the plugin
	NotARecord                      // Text is a file in the state directory, and the reason
	Unwritable                      // plugin or reaper cannot write a file; see Unwritable
	DescriptorsHeld                 // a process holds the descriptors of ended sockets; see Holder
	MoreDescriptorsHeld             // Count other processes do too; Text is the number of their descriptors
	HistoryLost                     // Count lines of the history could not be written
	NearFileLimit                   // a leaking process is near its limit on open files; see Files
	PolicyFileWrong                 // Text is a mistake in the policy file
	HistoryDamaged                  // Text is what the reaper found damaged in the history
)

// Finding is one condition that needs an operator's attention. Its text is not safe to show.
type Finding struct {
	Kind       Kind
	Text       string
	Count      uint64
	Refusal    *api.RefusalView // of Refused
	Unwritable *api.UnwritableView
	Holder     *api.DescriptorHolder
	Files      *api.FileUse
	Adoption   api.AdoptionView    // of Unregistered
	Attachment *api.AttachmentView // nil for the node or a file
	IsLastGood bool                // of PolicyFileWrong: its last good content is in force
}

// Findings lists the conditions of a node that need attention.
func Findings(s api.Status) []Finding {
	var list []Finding
	if p := s.Mode.SwitchProblem; p != "" {
		list = append(list, Finding{Kind: SwitchUnreadable, Text: p})
	}
	list = append(list, policyFileFindings(s.PolicyFile)...)
	if len(s.Attachments) == 0 {
		list = append(list, Finding{Kind: Unregistered, Adoption: s.Adoption})
	}
	if p := s.Mode.KernelProblem; p != "" {
		list = append(list, Finding{Kind: KernelRefuses, Text: p})
	}
	for i := range s.Refusals {
		list = append(list, Finding{Kind: Refused, Refusal: &s.Refusals[i], Text: s.Refusals[i].Problem})
	}
	list = append(list, unwritableFindings(s.Unwritable)...)
	if h := s.History; h != nil && h.Lost > 0 {
		list = append(list, Finding{Kind: HistoryLost, Count: h.Lost})
	}
	list = append(list, historyFindings(s.History)...)
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
		list = append(list, Finding{Kind: FinderLate, Text: Age(s.Finder.Late)})
	}
	for _, errno := range slices.Sorted(maps.Keys(s.Counts.Errors)) {
		list = append(list, Finding{Kind: DestroysRefused, Text: errno, Count: s.Counts.Errors[errno]})
	}
	if s.Budget.Waiting > 0 {
		list = append(list, Finding{Kind: BudgetWaiting, Count: uint64(s.Budget.Waiting), Text: strconv.Itoa(s.Budget.PerSecond)})
	}
	list = append(list, descriptorFindings(&s.Descriptors)...)
	for i := range s.Attachments {
		list = append(list, AttachmentFindings(&s.Attachments[i])...)
	}
	for _, p := range s.Problems {
		list = append(list, Finding{Kind: NotARecord, Text: "record " + p.File + ": " + p.Problem})
	}
	return list
}

// AttachmentFindings lists the conditions of one attachment that need attention.
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

// HasProblem reports whether an attachment has a finding. A capped mode does not count: an operator has set it.
func HasProblem(a *api.AttachmentView) bool {
	return slices.ContainsFunc(AttachmentFindings(a), func(f Finding) bool { return f.Kind != ModeCapped })
}
