// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The commands of docs/kubernetes.md need a cluster: test/kind runs their like, and pkg/cli checks halfclose's flags. This
// test checks the names of values and files.
func TestTheKubernetesPageNamesExistingValuesAndFiles(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(top, "docs/kubernetes.md"))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(top, "deploy/kubernetes/chart/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	values, groups := make(map[string]bool), make(map[string]bool)
	// The first column of the table of former values has names that the chart refuses.
	now := regexp.MustCompile("(?s)\n\\| old value \\|.*?\n\n").ReplaceAllFunc(page, func(table []byte) []byte {
		return regexp.MustCompile(`(?m)^\|[^|]*\|`).ReplaceAll(table, []byte("|"))
	})
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-zA-Z.]+)` \\| `").FindAllStringSubmatch(string(readme), -1) {
		values[row[1]] = true
		if group, _, nested := strings.Cut(row[1], "."); nested {
			groups[group] = true
		}
		if i := strings.LastIndex(row[1], "."); i > 0 {
			groups[row[1][:i]] = true
		}
	}
	named := 0
	for _, m := range regexp.MustCompile("`([a-zA-Z]+)\\.([a-zA-Z.]+)(?:=[^`]*)?`|--set ([a-zA-Z.]+)=").FindAllStringSubmatch(string(now), -1) {
		name := m[3]
		if name == "" {
			name = m[1] + "." + m[2]
		}
		if m[3] == "" && !groups[m[1]] || name == "cni.exclusive" { // a file, or a value of Cilium's chart
			continue
		}
		named++
		if !values[name] && !groups[name] {
			t.Errorf("docs/kubernetes.md names the value %s, which the chart does not have", name)
		}
	}
	if named < 8 {
		t.Errorf("the page names %d values, want at least 8", named)
	}
	for _, path := range regexp.MustCompile(`\bdeploy/[a-zA-Z/.-]*[a-zA-Z]`).FindAllString(string(page), -1) {
		if _, err := os.Stat(filepath.Join(top, path)); err != nil {
			t.Error(err)
		}
	}
}
