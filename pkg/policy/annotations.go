// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/halfclose/halfclose/internal/safetext"
)

// AnnotationPrefix is the prefix of halfclose's annotations.
const AnnotationPrefix = "halfclose.cni/"

// The annotations with which a pod changes its network's policy. Their values have the same format as in a conflist.
const (
	AnnotationMode           = AnnotationPrefix + "mode"
	AnnotationGrace          = AnnotationPrefix + "grace"
	AnnotationCloseWaitGrace = AnnotationPrefix + "close-wait-grace"
	AnnotationFinWait2Grace  = AnnotationPrefix + "fin-wait2-grace"
	AnnotationProbeAfter     = AnnotationPrefix + "probe-after"
	AnnotationProbeCount     = AnnotationPrefix + "probe-count"
	AnnotationProbeInterval  = AnnotationPrefix + "probe-interval"
	AnnotationPendingGrace   = AnnotationPrefix + "pending-grace"
	AnnotationClock          = AnnotationPrefix + "clock"
	AnnotationExempt         = AnnotationPrefix + "exempt" // a JSON list
	AnnotationRules          = AnnotationPrefix + "rules"  // a JSON list
)

// annotationKeys returns pairs of an annotation and its key in a conflist.
func annotationKeys() [][2]string {
	return [][2]string{
		{AnnotationMode, keyMode},
		{AnnotationGrace, keyGrace},
		{AnnotationCloseWaitGrace, keyCloseWaitGrace},
		{AnnotationFinWait2Grace, keyFinWait2Grace},
		{AnnotationProbeAfter, keyProbeAfter},
		{AnnotationProbeCount, keyProbeCount},
		{AnnotationProbeInterval, keyProbeInterval},
		{AnnotationPendingGrace, keyPendingGrace},
		{AnnotationClock, keyClock},
		{AnnotationExempt, keyExempt},
		{AnnotationRules, keyRules},
	}
}

// annotationOf returns the annotation of a key.
func annotationOf(key string) string {
	for _, pair := range annotationKeys() {
		if pair[1] == key {
			return pair[0]
		}
	}
	return AnnotationPrefix + key
}

// Bounds on a pod's annotations and on the warnings about them. Any author of a pod can write annotations, and records
// keep both.
const (
	maxScalar = 256 // bytes
	// maxListBytes is Kubernetes' bound on all annotations of an object (TotalAnnotationSizeLimitB). 64 exemptions with 16
	// ranges in each of their lists are shorter.
	maxListBytes = 256 << 10
	maxUnknown   = 16 // unknown annotations that are reported
	maxWarnings  = 16
	maxWarning   = 512 // bytes
)

// ReservedAnnotations returns the annotations of a pod that its record keeps: halfclose's own, and the names of the first
// unknown ones with its prefix, which status reports. Invalid values that are too long are cut, and stay invalid, so that a
// pod can neither fill a disk nor exceed the size of a record. The result is nil only for nil.
func ReservedAnnotations(annotations map[string]string) map[string]string {
	if annotations == nil {
		return nil
	}
	known, unknown, more := sortAnnotations(annotations)
	kept := make(map[string]string, len(known)+len(unknown))
	for _, name := range known {
		kept[name] = annotations[name]
		switch isList := name == AnnotationExempt || name == AnnotationRules; {
		case isList && len(kept[name]) > maxListBytes:
			kept[name] = cutMark
		case !isList || !isPlain(kept[name]):
			kept[name] = cut(kept[name])
		}
	}
	if len(kept[AnnotationExempt])+len(kept[AnnotationRules]) > maxListBytes {
		kept[AnnotationRules] = cutMark // together they are too long
	}
	for _, name := range unknown {
		kept[cut(name)] = ""
	}
	if more > 0 {
		kept[annotationMore] = strconv.Itoa(more)
	}
	return kept
}

// cutMark is the end of a value that was too long, and replaces a list that was. No JSON value ends with it.
const cutMark = "..."

// annotationMore has, in a record, the number of unknown annotations that the record does not name. It is not a valid name
// in Kubernetes.
const annotationMore = AnnotationPrefix + cutMark

// cut returns a scalar, or its first bytes and cutMark if it is longer than maxScalar.
func cut(s string) string {
	if len(s) <= maxScalar {
		return s
	}
	return strings.ToValidUTF8(s[:maxScalar], strings.Repeat("?", utf8.UTFMax)) + cutMark
}

// isPlain reports whether a list needs at most twice its bytes in a record. Control characters and invalid UTF-8, which no
// valid list contains, need six times their bytes.
func isPlain(list string) bool {
	return utf8.ValidString(list) && !strings.ContainsFunc(list, func(r rune) bool { return r < ' ' && !strings.ContainsRune("\t\n\r", r) })
}

// sortAnnotations returns the names of halfclose's annotations, in the order of annotationKeys; unknown names with its
// prefix, sorted and at most maxUnknown of them; and the number of further unknown ones.
func sortAnnotations(annotations map[string]string) (known, unknown []string, more int) {
	for _, pair := range annotationKeys() {
		if _, ok := annotations[pair[0]]; ok {
			known = append(known, pair[0])
		}
	}
	for name := range annotations {
		if !strings.HasPrefix(name, AnnotationPrefix) || slices.Contains(known, name) {
			continue
		}
		if name == annotationMore {
			if n, err := strconv.Atoi(annotations[name]); err == nil && n > 0 {
				more += min(n, math.MaxInt32)
				continue
			}
		}
		at, _ := slices.BinarySearch(unknown, name)
		if at < maxUnknown {
			unknown = slices.Insert(unknown, at, name)
		}
		if len(unknown) > maxUnknown {
			unknown = unknown[:maxUnknown]
			more++
		} else if at >= maxUnknown {
			more++
		}
	}
	return known, unknown, more
}

// readAnnotations returns the layer of a pod's annotations, nil if there are none or podOverrides ignores them; whether any
// of them is invalid, which caps the pod at observe; and the problems to report.
func readAnnotations(annotations map[string]string, overrides PodOverrides) (l *Layer, isInvalid bool, problems []string) {
	known, unknown, more := sortAnnotations(annotations)
	if len(known)+len(unknown)+more == 0 {
		return nil, false, nil
	}
	var w warnings
	if overrides != OverridesAny && overrides != OverridesRelax {
		first := append(append(known, unknown...), annotationMore)[0]
		w.addf("the pod's annotations %s* are ignored: podOverrides is %q (%d of them, the first %s)",
			AnnotationPrefix, OverridesNone, len(known)+len(unknown)+more, quote(first))
		return nil, false, w.list()
	}
	c := collector{most: maxWarnings}
	l = &Layer{Source: SourceAnnotation}
	l.annotated(&c, annotations, known)
	for _, name := range unknown {
		c.unknownAnnotation(name)
	}
	c.dropped += more
	for _, p := range c.problems {
		w.addf("%s (the pod is only observed)", p)
	}
	w.more += c.dropped
	return l, c.count() > 0, w.list()
}

// annotated reads the annotations with these names into the layer.
func (l *Layer) annotated(c *collector, annotations map[string]string, names []string) {
	keys := l.readers(c)
	for _, pair := range annotationKeys() {
		name, key := pair[0], pair[1]
		if !slices.Contains(names, name) {
			continue
		}
		path, value, most := SourceAnnotation+" "+name, annotations[name], maxScalar
		if key == keyExempt || key == keyRules {
			most = maxListBytes
		}
		if len(value) > most || value == cutMark {
			c.addf(path, "its value has more than %d bytes", most) // records do not keep its length
			continue
		}
		raw, err := annotationJSON(key, value)
		if err != nil {
			c.addf(path, "its value is not JSON: %s", err)
			continue
		}
		keys[key](path, raw)
	}
	l.check(c, SourceAnnotation+" "+AnnotationRules)
}

// annotationJSON returns an annotation's value as JSON: lists and numbers are JSON already, other values are strings.
func annotationJSON(key, value string) (json.RawMessage, error) {
	switch key {
	case keyExempt, keyRules:
		var raw json.RawMessage
		err := json.Unmarshal([]byte(value), &raw)
		return raw, err
	case keyProbeCount:
		if n, err := strconv.Atoi(value); err == nil {
			return json.RawMessage(strconv.Itoa(n)), nil
		}
	}
	return json.Marshal(value)
}

func (c *collector) unknownAnnotation(name string) {
	var names []string
	for _, pair := range annotationKeys() {
		names = append(names, strings.TrimPrefix(pair[0], AnnotationPrefix))
	}
	path := SourceAnnotation + " " + shownKey(name)
	if near, ok := c.nearest(strings.TrimPrefix(name, AnnotationPrefix), names); ok {
		c.addf(path, "unknown annotation, did you mean %s%s?", AnnotationPrefix, near)
		return
	}
	c.addf(path, "unknown annotation; after %s one of these must follow: %s", AnnotationPrefix, strings.Join(names, ", "))
}

// shownKey returns an annotation's name, quoted if it has characters that no name should have.
func shownKey(key string) string {
	plain := func(r rune) bool {
		return r < 0x80 && (r == '/' || r == '.' || r == '-' || isName("_"+string(r)))
	}
	if len(key) > maxQuoted || strings.ContainsFunc(key, func(r rune) bool { return !plain(r) }) {
		return quote(key)
	}
	return key
}

// warnings is a list of at most maxWarnings warnings of at most maxWarning bytes.
type warnings struct {
	all  []string
	more int
}

func (w *warnings) addf(format string, args ...any) {
	if len(w.all) == maxWarnings-1 {
		w.more++
		return
	}
	w.all = append(w.all, safetext.Cut(fmt.Sprintf(format, args...), maxWarning))
}

func (w *warnings) list() []string {
	if w.more > 0 {
		return append(w.all, fmt.Sprintf("and %d more about the pod's annotations", w.more))
	}
	return w.all
}
