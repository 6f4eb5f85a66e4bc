// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Bounds on a policy file.
const (
	MaxBytes   = 256 << 10
	MaxEntries = 1000

	maxDepth    = 32 // levels of lists and mappings; a valid file has six
	maxName     = 64 // bytes of an entry's name
	maxGlob     = 256
	maxQuoted   = 64
	maxProblems = 1000
	maxHints    = 64 // searches for a misspelled key
)

// The keys of a file and of an entry.
const (
	keyVersion      = "version"
	keyDefaults     = "defaults"
	keyPodOverrides = "podOverrides"
	keyPods         = "pods"
	keyName         = "name"
	keyMatch        = "match"
	keySet          = "set"
	keyEnforce      = "enforce"
	keyNamespace    = "namespace"
	keyPod          = "pod"
	keyNetwork      = "network"
	keyID           = "id"
)

// NoEntries is the text of a file without entries.
const NoEntries = "version: 1\npods: []\n"

const writeNoEntries = `write "version: 1" and "pods: []" for a file without entries`

// Parse parses a policy file. name is the file's name in the sources of values, such as policy.yaml. If there is any problem,
// the file is wrong as a whole and Parse returns the zero File.
func Parse(data []byte, name string) (File, Problems) {
	if len(data) > MaxBytes {
		return File{}, whole("the file has more than %d bytes", MaxBytes)
	}
	root, problems := document(data)
	if len(problems) > 0 {
		return File{}, problems
	}
	p := parser{name: name, places: map[string]place{}}
	f := p.file(root)
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		if p.dropped > 0 {
			p.problems = append(p.problems, Problem{Message: fmt.Sprintf("and %d more", p.dropped)})
		}
		return File{}, p.problems
	}
	return f, nil
}

// document returns the root of the only document in data.
func document(data []byte) (*yaml.Node, Problems) {
	doc, second, err := documents(data)
	switch {
	case errors.Is(err, io.EOF):
		return nil, whole("the file is empty: %s", writeNoEntries)
	case err != nil:
		return nil, Problems{syntaxError(data, err)}
	case second != nil:
		return nil, Problems{{Line: second.Line, Column: second.Column, Message: `a second document: only one is allowed, remove the "---"`}}
	case doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || isEmpty(doc.Content[0]):
		return nil, whole("the file is empty: %s", writeNoEntries)
	}
	return doc.Content[0], nil
}

// documents returns the first two documents in data; second is nil if there is only one.
func documents(data []byte) (first, second *yaml.Node, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	first, second = new(yaml.Node), new(yaml.Node)
	if err := decode(dec, first); err != nil {
		return nil, nil, err
	}
	switch err := decode(dec, second); {
	case errors.Is(err, io.EOF):
		return first, nil, nil
	case err != nil:
		return nil, nil, err
	}
	return first, second, nil
}

// decode reads a document. The library panics on some input that it cannot parse.
func decode(dec *yaml.Decoder, to *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	return dec.Decode(to)
}

var syntaxErrorLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// syntaxError returns the problem of a file that is not YAML. The library reports the first such mistake only, as text, with
// the line at which a list or mapping begins if the mistake is in one, and some of these lines are one too low. The line of
// the mistake is that with which the error appears.
func syntaxError(data []byte, err error) Problem {
	text := err.Error()
	lines := bytes.SplitAfter(data, []byte("\n"))
	line := 1 + sort.Search(len(lines)-1, func(i int) bool {
		_, _, err := documents(bytes.Join(lines[:i+1], nil))
		return err != nil && err.Error() == text
	})
	message := text[len(syntaxErrorLine.FindString(text)):]
	return Problem{Line: line, Message: "not YAML: " + safetext.Cut(safetext.Escape(message), 4*maxQuoted)}
}

// parser collects the problems of a file.
type parser struct {
	name     string
	places   map[string]place // by path
	problems Problems
	dropped  int // number of problems past maxProblems
	hints    int
}

// place is the position of a value.
type place struct{ line, column int }

func placeOf(n *yaml.Node) place { return place{n.Line, n.Column} }

func (p *parser) addf(n *yaml.Node, at, format string, args ...any) {
	p.add(placeOf(n), at, fmt.Sprintf(format, args...))
}

func (p *parser) add(at place, path, message string) {
	if len(p.problems) >= maxProblems {
		p.dropped++
		return
	}
	p.problems = append(p.problems, Problem{Line: at.line, Column: at.column, Key: strings.TrimPrefix(strings.TrimPrefix(path, "$"), "."), Message: message})
}

// file reads the root of the document.
func (p *parser) file(root *yaml.Node) (f File) {
	fields, ok := p.fields(root, "$", 0, []string{keyVersion, keyDefaults, keyPodOverrides, keyPods})
	if !ok {
		return f
	}
	version, ok := fields[keyVersion]
	switch {
	case !ok:
		p.addf(root, "$", `version is missing: write "version: 1"`)
	case version.Kind != yaml.ScalarNode:
		p.addf(version, "$.version", "want 1, got %s", describe(version))
	case version.Value != "1":
		// The other problems may be features of that version.
		p.problems = nil
		p.addf(version, "$.version", "version %s is unknown: this halfclose reads version 1", safetext.Quote(version.Value, maxQuoted))
		return f
	}
	if n, ok := fields[keyDefaults]; ok {
		f.Defaults = p.layer(n, "$.defaults", 1, fmt.Sprintf("%s:%s (line %d)", p.name, keyDefaults, n.Line))
	}
	if n, ok := fields[keyPodOverrides]; ok {
		if text, ok := p.text(n, "$.podOverrides"); ok {
			if err := f.PodOverrides.UnmarshalText([]byte(text)); err != nil {
				p.addf(n, "$.podOverrides", "%s", err)
			}
		}
	}
	n, ok := fields[keyPods]
	switch {
	case !ok && len(fields) <= 1:
		p.addf(root, "$", "it has no entries: %s", writeNoEntries)
	case !ok:
	case n.Kind != yaml.SequenceNode:
		p.addf(n, "$.pods", `want a list of entries, got %s: write "pods: []" for none`, describe(n))
	case len(n.Content) > MaxEntries:
		p.addf(n, "$.pods", "%d entries, at most %d are allowed", len(n.Content), MaxEntries)
	default:
		p.check(n, "$.pods", 1)
		for i, entry := range n.Content {
			f.Entries = append(f.Entries, p.entry(entry, policy.IndexPath("$.pods", i)))
		}
	}
	return f
}

// entry reads an element of pods.
func (p *parser) entry(n *yaml.Node, at string) Entry {
	e := Entry{Line: n.Line}
	fields, ok := p.fields(n, at, 2, []string{keyName, keyMatch, keySet, keyEnforce})
	if !ok {
		return e
	}
	if name, ok := fields[keyName]; ok {
		e.Name = p.entryName(name, at+"."+keyName)
	}
	e.Source = fmt.Sprintf("%s:%s (line %d)", p.name, cmp.Or(e.Name, strings.TrimPrefix(at, "$.")), n.Line)
	if match, ok := fields[keyMatch]; ok {
		e.Match = p.match(match, at+"."+keyMatch)
	} else {
		p.addf(n, at, `match is missing: which pods is the entry for?`)
	}
	for key, to := range map[string]**policy.Layer{keySet: &e.Set, keyEnforce: &e.Enforce} {
		if value, ok := fields[key]; ok {
			*to = p.layer(value, at+"."+key, 3, e.Source)
		}
	}
	if fields[keySet] == nil && fields[keyEnforce] == nil {
		p.addf(n, at, "an entry without set and enforce changes nothing: give it one")
	}
	return e
}

func (p *parser) entryName(n *yaml.Node, at string) string {
	text, ok := p.text(n, at)
	switch {
	case !ok:
	case text == "":
		p.addf(n, at, "a name is missing: leave the key out, or write one such as payments")
	case len(text) > maxName:
		p.addf(n, at, "a name of %d bytes, at most %d are allowed", len(text), maxName)
	case !safetext.IsPrintable(text):
		p.addf(n, at, "%s has characters that cannot be printed", safetext.Quote(text, maxQuoted))
	default:
		return text
	}
	return ""
}

// match reads the globs of an entry.
func (p *parser) match(n *yaml.Node, at string) (m Match) {
	fields, ok := p.fields(n, at, 3, []string{keyNamespace, keyPod, keyNetwork, keyID})
	if !ok {
		return m
	}
	if len(fields) == 0 {
		p.addf(n, at, `want at least one of namespace, pod, network and id: write id: "*" to match every attachment`)
	}
	for key, to := range map[string]*string{keyNamespace: &m.Namespace, keyPod: &m.Pod, keyNetwork: &m.Network, keyID: &m.ID} {
		value, ok := fields[key]
		if !ok {
			continue
		}
		glob, ok := p.text(value, at+"."+key)
		switch _, err := path.Match(glob, ""); {
		case !ok:
		case glob == "":
			p.addf(value, at+"."+key, `a glob is missing: write one such as "shop-*", or leave the key out`)
		case len(glob) > maxGlob:
			p.addf(value, at+"."+key, "a glob of %d bytes, at most %d are allowed", len(glob), maxGlob)
		case err != nil:
			p.addf(value, at+"."+key, "%s is not a glob: a [ must be closed, or escaped as \\[", safetext.Quote(glob, maxQuoted))
		case key != keyNetwork && strings.Contains(glob, "/"):
			p.addf(value, at+"."+key, "%s has a /: give namespace and pod separately", safetext.Quote(glob, maxQuoted))
		default:
			*to = glob
		}
	}
	return m
}

// layer reads policy values, as in a conflist.
func (p *parser) layer(n *yaml.Node, at string, depth int, source string) *policy.Layer {
	if n.Kind != yaml.MappingNode {
		p.check(n, at, depth)
		p.addf(n, at, "want policy values such as {grace: 30m}, got %s", describe(n))
		return nil
	}
	before := len(p.problems) + p.dropped
	text := p.json(nil, n, at, "", depth)
	known := make(map[string]bool) // values that json has left out: no problem that follows from that is reported
	for _, problem := range p.problems[min(before, len(p.problems)):] {
		known[problem.Key] = true
	}
	layer, problems := policy.ParseLayer(text, source)
	for _, problem := range problems {
		key := at + strings.TrimPrefix(problem.Path, "$")
		if known[strings.TrimPrefix(key, "$.")] {
			continue
		}
		p.add(p.placeOf(key), key, problem.Message)
	}
	return &layer
}

// placeOf returns the place of a path, or of the value that it is a part of.
func (p *parser) placeOf(at string) place {
	for {
		if place, ok := p.places[at]; ok {
			return place
		}
		cut := strings.LastIndexAny(at, ".[")
		if cut < 0 {
			return place{}
		}
		at = at[:cut]
	}
}

// text reads a scalar as text: off is "off", and 443 is "443".
func (p *parser) text(n *yaml.Node, at string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		p.addf(n, at, "want a text, got %s", describe(n))
		return "", false
	}
	return n.Value, true
}

// unknown reports an unknown key.
func (p *parser) unknown(key *yaml.Node, at string, names []string) {
	if p.hints++; p.hints <= maxHints {
		if near, ok := policy.Nearest(key.Value, names); ok {
			p.addf(key, at, "unknown key, did you mean %q?", near)
			return
		}
	}
	p.addf(key, at, "unknown key: want one of %s", strings.Join(names, ", "))
}
