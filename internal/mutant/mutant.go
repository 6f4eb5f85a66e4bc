// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package mutant builds programs and tests with a mistake in them, to check that tests notice it. The source tree stays as it
// is: the go command reads the changed files from an overlay.
package mutant

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Mutant is one mistake.
type Mutant struct {
	Name  string // also that of a directory
	Edits []Edit
}

// Edit is a change of one file, slash-separated below the top directory of the source tree: the only occurrence of Old
// becomes New.
type Edit struct{ File, Old, New string }

// Sources returns the changed files, by the names in the edits. top is the top directory of the source tree.
func (m Mutant) Sources(top string) (map[string]string, error) {
	changed := make(map[string]string)
	for _, e := range m.Edits {
		source, ok := changed[e.File]
		if !ok {
			b, err := os.ReadFile(filepath.Join(top, filepath.FromSlash(e.File)))
			if err != nil {
				return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
			}
			source = string(b)
		}
		var err error
		if changed[e.File], err = e.apply(source); err != nil {
			return nil, fmt.Errorf("mutant %s: %s: %w", m.Name, e.File, err)
		}
	}
	return changed, nil
}

// Overlay writes the changed files into a directory below dir, and returns the argument of the go command that selects them.
func (m Mutant) Overlay(top, dir string) (arg string, err error) {
	changed, err := m.Sources(top)
	if err != nil {
		return "", err
	}
	if top, err = filepath.Abs(top); err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(filepath.Join(dir, m.Name)); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for file, source := range changed {
		mutated := filepath.Join(dir, fmt.Sprintf("%d-%s", len(replace), filepath.Base(file)))
		if err := os.WriteFile(mutated, []byte(source), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(top, filepath.FromSlash(file))] = mutated
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	at := filepath.Join(dir, "overlay.json")
	return "-overlay=" + at, os.WriteFile(at, b, 0o600)
}

// apply returns the source with the change.
func (e Edit) apply(source string) (string, error) {
	if n := strings.Count(source, e.Old); n != 1 {
		return "", fmt.Errorf("the text to change occurs %d times, want once: %q", n, e.Old)
	}
	if e.Old == e.New {
		return "", errors.New("changes nothing")
	}
	return strings.Replace(source, e.Old, e.New, 1), nil
}

// Choose returns the mutants with the names, all without names.
func Choose(all []Mutant, names []string) ([]Mutant, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []Mutant
next:
	for _, name := range names {
		for _, m := range all {
			if m.Name == name {
				chosen = append(chosen, m)
				continue next
			}
		}
		return nil, fmt.Errorf("no mutant has the name %q", name)
	}
	return chosen, nil
}
