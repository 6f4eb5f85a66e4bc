// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// AnnotationPrefix begins every annotation that is ours.
const AnnotationPrefix = "halfclose.cni/"

// The annotations by which a pod changes its network's policy, with the same values as in a conflist.
const (
	AnnotationMode           = AnnotationPrefix + "mode"
	AnnotationGrace          = AnnotationPrefix + "grace"
	AnnotationCloseWaitGrace = AnnotationPrefix + "close-wait-grace"
	AnnotationFinWait2Grace  = AnnotationPrefix + "fin-wait2-grace"
	AnnotationClock          = AnnotationPrefix + "clock"
	AnnotationPendingData    = AnnotationPrefix + "pending-data"
	AnnotationExempt         = AnnotationPrefix + "exempt" // a JSON list
)

// What is taken from a pod, and what is said about it, is bounded: whoever may make a pod may write
// annotations, and the warnings are kept on disk and shown to operators.
const (
	maxScalar      = 256
	maxExemptBytes = 16 << 10
	maxWarnings    = 16
	maxWarning     = 512
)

// WithAnnotations returns the network's policy with a pod's annotations applied as PodOverrides allows, where
// each value came from, and a warning for each annotation of ours that was not taken: one that is unknown,
// has a value that is no good (the network's value stands) or is refused. Annotations that do not begin with
// AnnotationPrefix are not looked at. There are at most 16 warnings of at most 512 bytes each, and what the
// pod wrote is escaped in them.
func (n Network) WithAnnotations(annotations map[string]string) (Policy, Sources, []string) {
	sources := n.Sources.clone()
	var ours []string
	for key := range annotations {
		if strings.HasPrefix(key, AnnotationPrefix) {
			ours = append(ours, key)
		}
	}
	if len(ours) == 0 {
		return n.Policy, sources, nil
	}
	slices.Sort(ours)
	var w warnings
	switch n.PodOverrides {
	case OverridesAny, OverridesRelax:
	default:
		w.addf("the pod's annotations %s* are ignored: the network's podOverrides is %q (%d of them, the first %s)",
			AnnotationPrefix, OverridesNone, len(ours), quote(ours[0]))
		return n.Policy, sources, w.list()
	}
	var l layer
	for _, key := range ours {
		if err := l.annotation(key, annotations[key]); err != nil {
			w.addf("annotation %s is ignored: %s", shownKey(key), err)
		}
	}
	var refuse func(key, from, want, have string)
	if n.PodOverrides == OverridesRelax {
		refuse = func(key, from, want, have string) {
			w.addf("%s %q is ignored: it is less careful than the network's %s %q, and podOverrides is %q",
				from, want, key, have, n.PodOverrides)
		}
	}
	return l.over(n.Policy, sources, refuse), sources, w.list()
}

// annotation reads one annotation of ours into the layer.
func (l *layer) annotation(key, value string) error {
	most := maxScalar
	if key == AnnotationExempt {
		most = maxExemptBytes
	}
	var tooLong error
	if len(value) > most {
		tooLong = fmt.Errorf("its value has %d bytes, at most %d are allowed", len(value), most)
	}
	switch key {
	case AnnotationMode:
		return annotated(&l.mode, key, value, tooLong, func(s string) (Mode, error) { return parseWord[Mode](modeWords, s) })
	case AnnotationGrace:
		return annotated(&l.grace, key, value, tooLong, parseGrace)
	case AnnotationCloseWaitGrace:
		return annotated(&l.closeWait, key, value, tooLong, parseGrace)
	case AnnotationFinWait2Grace:
		return annotated(&l.finWait2, key, value, tooLong, parseGrace)
	case AnnotationClock:
		return annotated(&l.clock, key, value, tooLong, func(s string) (Clock, error) { return parseWord[Clock](clockWords, s) })
	case AnnotationPendingData:
		return annotated(&l.pending, key, value, tooLong, func(s string) (PendingData, error) {
			return parseWord[PendingData](pendingWords, s)
		})
	case AnnotationExempt:
		return annotated(&l.exempt, key, value, tooLong, parseExempt)
	}
	return unknownAnnotation(key)
}

func annotated[T any](s *setting[T], key, value string, tooLong error, parse func(string) (T, error)) error {
	s.from = SourceAnnotation + " " + key
	if tooLong != nil {
		s.named = true
		return tooLong
	}
	return s.take(parse(value))
}

// parseExempt reads the value of AnnotationExempt.
func parseExempt(value string) (exemptions, error) {
	var raw json.RawMessage
	if err := json.Unmarshal([]byte(value), &raw); err != nil {
		return nil, fmt.Errorf("its value is not JSON: %w", err)
	}
	var c collector
	return c.exemptions("$", raw, maxExempt)
}

func unknownAnnotation(key string) error {
	names := []string{
		AnnotationMode, AnnotationGrace, AnnotationCloseWaitGrace, AnnotationFinWait2Grace,
		AnnotationClock, AnnotationPendingData, AnnotationExempt,
	}
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], AnnotationPrefix)
	}
	if name, ok := nearest(strings.TrimPrefix(key, AnnotationPrefix), names); ok {
		return fmt.Errorf("there is none of this name, did you mean %s%s?", AnnotationPrefix, name)
	}
	return fmt.Errorf("there is none of this name: after %s there are %s", AnnotationPrefix, strings.Join(names, ", "))
}

// shownKey is an annotation's name as it is, or quoted where it holds what a name should not.
func shownKey(key string) string {
	plain := func(r rune) bool {
		return r < 0x80 && (r == '/' || r == '.' || r == '-' || isName("_"+string(r)))
	}
	if len(key) > maxQuoted || strings.ContainsFunc(key, func(r rune) bool { return !plain(r) }) {
		return quote(key)
	}
	return key
}

// warnings is a bounded list of bounded warnings.
type warnings struct {
	all  []string
	more int
}

func (w *warnings) addf(format string, args ...any) {
	if len(w.all) == maxWarnings-1 {
		w.more++
		return
	}
	s := fmt.Sprintf(format, args...)
	if len(s) > maxWarning {
		s = strings.ToValidUTF8(s[:maxWarning-len("...")], "") + "..."
	}
	w.all = append(w.all, s)
}

func (w *warnings) list() []string {
	if w.more > 0 {
		return append(w.all, fmt.Sprintf("and %d more about the pod's annotations", w.more))
	}
	return w.all
}
