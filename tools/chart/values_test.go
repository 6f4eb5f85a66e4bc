// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "write the table of values into the chart's README")

const (
	tableBegin = "<!-- values: written by go test -update in tools/chart -->\n\n"
	tableEnd   = "\n<!-- end of values -->\n"
)

// TestTheReadmeHasEveryValue compares the README's table with values.yaml and its comments.
func TestTheReadmeHasEveryValue(t *testing.T) {
	var root yaml.Node
	if err := yaml.Unmarshal(chartFile(t, "values.yaml"), &root); err != nil {
		t.Fatal(err)
	}
	table := "| value | default | meaning |\n|---|---|---|\n" + strings.Join(rows(t, root.Content[0], ""), "")
	readme := string(chartFile(t, "README.md"))
	head, rest, ok := strings.Cut(readme, tableBegin)
	_, tail, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatal("README.md has no markers for the table of values")
	}
	want := head + tableBegin + table + tableEnd + tail
	if *update {
		if err := os.WriteFile(filepath.Join(repository, chartDir, "README.md"), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if readme != want {
		t.Error("the table of values in README.md differs from values.yaml: run go test -run Readme -update in tools/chart")
	}
}

// rows returns a line for each value below a mapping. A nested mapping with a comment is one value, unless its own values
// have comments.
func rows(t *testing.T, n *yaml.Node, prefix string) (lines []string) {
	t.Helper()
	comment := ""
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := prefix + key.Value
		if value.Kind == yaml.MappingNode && commented(value) {
			lines = append(lines, rows(t, value, name+".")...)
			continue
		}
		if c := prose(key.HeadComment); c != "" {
			comment = c // also for the following values without a comment
		}
		if comment == "" {
			t.Errorf("values.yaml has no comment on %s", name)
		}
		lines = append(lines, fmt.Sprintf("| `%s` | `%s` | %s |\n", name, asJSON(t, value), strings.ReplaceAll(comment, "|", `\|`)))
	}
	return lines
}

// commented reports whether a value of a mapping has a comment.
func commented(n *yaml.Node) bool {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].HeadComment != "" {
			return true
		}
	}
	return false
}

// prose is the last paragraph of a comment, on one line.
func prose(comment string) string {
	paragraphs := strings.Split(comment, "\n\n")
	var words []string
	for line := range strings.Lines(paragraphs[len(paragraphs)-1]) {
		words = append(words, strings.Fields(strings.TrimPrefix(line, "#"))...)
	}
	return strings.Join(words, " ")
}

func asJSON(t *testing.T, n *yaml.Node) string {
	t.Helper()
	var v any
	if err := n.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if s, ok := v.(string); ok && s != "" {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func chartFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repository, chartDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTheSchemaKnowsEveryValue compares the schema with values.yaml: each value is in the schema, and each property of the
// schema is a value.
func TestTheSchemaKnowsEveryValue(t *testing.T) {
	var schema schemaNode
	if err := json.Unmarshal(chartFile(t, "values.schema.json"), &schema); err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(chartFile(t, "values.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	delete(schema.Properties, "global") // Helm's own
	compare(t, "", values, schema)
}

type schemaNode struct {
	Properties           map[string]schemaNode
	AdditionalProperties any
}

func compare(t *testing.T, prefix string, values map[string]any, schema schemaNode) {
	t.Helper()
	if schema.AdditionalProperties != false {
		t.Errorf("the schema lets %s have keys that mean nothing", prefix)
	}
	for key, value := range values {
		property, ok := schema.Properties[key]
		if !ok {
			t.Errorf("the schema does not know %s%s", prefix, key)
		}
		if m, ok := value.(map[string]any); ok && property.Properties != nil && key != "resources" {
			compare(t, prefix+key+".", m, property)
		}
	}
	for key := range schema.Properties {
		if _, ok := values[key]; !ok {
			t.Errorf("the schema knows %s%s, and values.yaml does not", prefix, key)
		}
	}
}
