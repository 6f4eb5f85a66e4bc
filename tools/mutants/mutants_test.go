// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestEachMutantHasAUniquePlaceAndName(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mutants() {
		if seen[m.Name] || strings.ContainsAny(m.Name, "/ .") {
			t.Errorf("%q is a name twice, or none", m.Name)
		}
		seen[m.Name] = true
		if _, err := m.Sources("../.."); err != nil {
			t.Error(err)
		}
	}
	if len(seen) < 24 {
		t.Errorf("there are %d mutants", len(seen))
	}
}
