// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os/exec"
	"path"
	"slices"
	"testing"

	"github.com/halfclose/halfclose/test/torture/plan"
)

const top = "../../.."

func TestEachFaultChangesTheProductWhichStillCompiles(t *testing.T) {
	names := make(map[string]bool)
	for _, f := range faults() {
		if names[f.Name] {
			t.Errorf("two faults have the name %s", f.Name)
		}
		names[f.Name] = true
		if p, err := plan.ProfileOf(f.Name); err != nil || p.Name != f.Name {
			t.Errorf("the profile %q, %v", p.Name, err)
		}
		changed, err := f.Sources(top)
		if err != nil {
			t.Error(err)
			continue
		}
		overlay, err := f.Overlay(top, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		packages := make(map[string]bool)
		for file := range changed {
			packages["./"+path.Dir(file)] = true
		}
		cmd := exec.Command("go", slices.Concat([]string{"build", overlay}, slices.Sorted(maps.Keys(packages)))...)
		cmd.Dir = top
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", f.Name, err, out)
		}
	}
}
