// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// The states of the node's policy file.
const (
	PolicyFileAbsent   = "absent"    // there is none
	PolicyFileInForce  = "in-force"  // it is in force
	PolicyFileLastGood = "last-good" // it is wrong or gone, and its last good content is in force
	PolicyFileNone     = "none"      // it is wrong, and there is no last good content: every pod is only observed
)

// PolicyFileView is the node's policy file.
type PolicyFileView struct {
	Path  string `json:"path"` // empty if the reaper reads none
	State string `json:"state"`
	// Since is the wall-clock time at which the reaper first read the content in force, SHA256 the start of its digest. Both
	// are absent without such content.
	Since   time.Time `json:"since,omitzero"`
	SHA256  string    `json:"sha256,omitempty"`
	Entries int       `json:"entries"` // in force
	// Errors is the number of mistakes in the file as it is now, Problems are the first of them.
	Errors   int                 `json:"errors"`
	Problems []PolicyFileProblem `json:"problems,omitempty"`
	// CopyProblem is the reason why the content in force would not survive a restart of the reaper.
	CopyProblem string `json:"copyProblem,omitempty"`
}

// PolicyFileProblem is one mistake in the policy file.
type PolicyFileProblem struct {
	Line    int    `json:"line,omitempty"`   // from 1; 0 for the file as a whole
	Column  int    `json:"column,omitempty"` // from 1; 0 if it is unknown
	Key     string `json:"key,omitempty"`    // the path of the value, such as pods[0].set.grace
	Message string `json:"message"`
}

// EffectivePolicy is the policy of one attachment, as GET /v1/policies returns it.
type EffectivePolicy struct {
	state.Attachment
	Network string    `json:"network"`
	Pod     state.Pod `json:"pod"`
	// Mode is the mode in force, CappedBy the causes that make it more conservative than the policy's.
	Mode         policy.Mode         `json:"mode"`
	CappedBy     []string            `json:"cappedBy,omitempty"`
	PodOverrides policy.PodOverrides `json:"podOverrides"`
	// Entries are the sources of the entries of the policy file that match the attachment.
	Entries []string `json:"policyFileEntries,omitempty"`
	// Policies are judged separately, and the more conservative verdict counts. With podOverrides relax and annotations there
	// are two: without and with the annotations.
	Policies []SourcedPolicy `json:"policies"`
	Warnings []string        `json:"warnings,omitempty"`
}

// SourcedPolicy is a policy with the source of each value.
type SourcedPolicy struct {
	// Annotations is "without", "with", or empty if there is only one policy.
	Annotations string         `json:"annotations,omitempty"`
	Policy      PolicyView     `json:"policy"`
	Sources     policy.Sources `json:"sources"`
	// RuleSources are the sources of Policy.Rules.
	RuleSources []string `json:"ruleSources,omitempty"`
}

// PolicyList is the answer to GET /v1/policies.
type PolicyList struct {
	PolicyFile PolicyFileView    `json:"policyFile"`
	Policies   []EffectivePolicy `json:"policies"`
}
