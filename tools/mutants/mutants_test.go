// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEachMutantHasAUniquePlaceAndName(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mutants() {
		if seen[m.name] || strings.ContainsAny(m.name, "/ .") {
			t.Errorf("%q is a name twice, or none", m.name)
		}
		seen[m.name] = true
		source, err := os.ReadFile(filepath.Join("../..", pkg, m.file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.apply(string(source)); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	if len(seen) < 24 {
		t.Errorf("there are %d mutants", len(seen))
	}
}

func TestMutantThatDoesNotApplyIsAnError(t *testing.T) {
	for name, m := range map[string]mutant{
		"a text that is not there":   {old: "c", new: "d"},
		"a text that is there twice": {old: "a", new: "d"},
		"a change that is none":      {old: "b", new: "b"},
	} {
		if changed, err := m.apply("aba"); err == nil {
			t.Errorf("%s: %q", name, changed)
		}
	}
}
