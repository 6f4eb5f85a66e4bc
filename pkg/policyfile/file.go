// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile

import (
	"path"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// File is a policy file. The zero File has no entries and changes no policy.
type File struct {
	// Defaults are for every attachment; nil if the file has none.
	Defaults *policy.Layer
	// PodOverrides is how far annotations count, unless the network's is stricter. The zero value is "any".
	PodOverrides policy.PodOverrides
	Entries      []Entry // in the order of the file
}

// Entry is an element of pods.
type Entry struct {
	Name    string // empty if it has none
	Line    int
	Source  string // such as "policy.yaml:payments (line 5)"
	Match   Match
	Set     *policy.Layer // below the annotations; nil if the entry has none
	Enforce *policy.Layer // above them; likewise
}

// Match has the globs of an entry. All that are given must match; an empty one is not given. A glob never matches a value
// that an attachment does not have, such as the pod of a netns that was registered by hand.
type Match struct {
	Namespace string // of the pod, in Kubernetes
	Pod       string
	Network   string // the CNI network's name
	ID        string // the container ID, or the name of a netns that was registered by hand
}

// Facts are the properties of an attachment that a Match compares.
type Facts struct{ Namespace, Pod, Network, ID string }

// FactsOf returns the facts of a record.
func FactsOf(r *state.Record) Facts {
	return Facts{Namespace: r.Pod.Namespace, Pod: r.Pod.Name, Network: r.Network, ID: r.ContainerID}
}

// Matches reports whether every glob that is given matches.
func (m Match) Matches(f Facts) bool {
	for _, pair := range [][2]string{{m.Namespace, f.Namespace}, {m.Pod, f.Pod}, {m.Network, f.Network}, {m.ID, f.ID}} {
		glob, value := pair[0], pair[1]
		if glob == "" {
			continue
		}
		if ok, err := path.Match(glob, value); value == "" || !ok || err != nil {
			return false
		}
	}
	return m != Match{}
}

// IsEmpty reports whether the file changes no policy, as without a file.
func (f *File) IsEmpty() bool {
	return f.Defaults == nil && f.PodOverrides == policy.OverridesAny && len(f.Entries) == 0
}

// Layers returns the layers for an attachment, each list from lowest to highest: below the annotations the defaults and each
// matching set, above them each matching enforce.
func (f *File) Layers(facts Facts) (below, above []policy.Layer) {
	if f.Defaults != nil {
		below = append(below, *f.Defaults)
	}
	for i := range f.Entries {
		e := &f.Entries[i]
		if !e.Match.Matches(facts) {
			continue
		}
		if e.Set != nil {
			below = append(below, *e.Set)
		}
		if e.Enforce != nil {
			above = append(above, *e.Enforce)
		}
	}
	return below, above
}

// Resolve returns the policies of an attachment: its layers and the file's. It raises patiences below minGrace to it.
func (f *File) Resolve(l policy.Layers, facts Facts, minGrace time.Duration) policy.Resolved {
	below, above := f.Layers(facts)
	l.PodOverrides = Stricter(l.PodOverrides, f.PodOverrides)
	return l.ResolveWith(below, above, minGrace)
}

// Matching returns the sources of the entries that match an attachment.
func (f *File) Matching(facts Facts) (sources []string) {
	for i := range f.Entries {
		if e := &f.Entries[i]; e.Match.Matches(facts) {
			sources = append(sources, e.Source)
		}
	}
	return sources
}

// Stricter returns the stricter of two podOverrides: none before relax before any.
func Stricter(a, b policy.PodOverrides) policy.PodOverrides {
	order := []policy.PodOverrides{policy.OverridesAny, policy.OverridesRelax, policy.OverridesNone}
	i, j := slices.Index(order, a), slices.Index(order, b)
	if i < 0 || j < 0 { // invalid values count as none
		return policy.OverridesNone
	}
	return order[max(i, j)]
}
