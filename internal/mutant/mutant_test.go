// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package mutant_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/mutant"
)

const source = `package main

func main() { println("right") }
`

// newTree returns the top directory of a source tree with one program.
func newTree(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.org/m\n", "cmd/main.go": source} {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func TestOverlayChangesTheProgramAndLeavesTheSource(t *testing.T) {
	top := newTree(t)
	m := mutant.Mutant{Name: "wrong", Edits: []mutant.Edit{
		{File: "cmd/main.go", Old: `"right"`, New: `"left"`},
		{File: "cmd/main.go", Old: `println("left")`, New: `println("not", "left")`},
	}}
	overlay, err := m.Overlay(top, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", overlay, "./cmd")
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "not left" {
		t.Errorf("the program printed %q, %v", out, err)
	}
	if b, err := os.ReadFile(filepath.Join(top, "cmd/main.go")); err != nil || string(b) != source {
		t.Errorf("the source is %q, %v", b, err)
	}
}

func TestMutantThatDoesNotApplyIsAnError(t *testing.T) {
	top := newTree(t)
	for name, e := range map[string]mutant.Edit{
		"a text that does not occur": {File: "cmd/main.go", Old: "wrong", New: "right"},
		"a text that occurs twice":   {File: "cmd/main.go", Old: "main", New: "right"},
		"a change that is none":      {File: "cmd/main.go", Old: "println", New: "println"},
		"a file that does not exist": {File: "cmd/other.go", Old: "println", New: "print"},
	} {
		if changed, err := (mutant.Mutant{Name: "m", Edits: []mutant.Edit{e}}).Sources(top); err == nil {
			t.Errorf("%s: %q", name, changed)
		}
	}
}

func TestUnknownNameIsAnError(t *testing.T) {
	all := []mutant.Mutant{{Name: "a"}, {Name: "b"}}
	if chosen, err := mutant.Choose(all, []string{"b"}); err != nil || len(chosen) != 1 || chosen[0].Name != "b" {
		t.Errorf("%v, %v", chosen, err)
	}
	if chosen, err := mutant.Choose(all, nil); err != nil || len(chosen) != len(all) {
		t.Errorf("%v, %v", chosen, err)
	}
	if chosen, err := mutant.Choose(all, []string{"c"}); err == nil {
		t.Errorf("%v", chosen)
	}
}
