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
	"sync"
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
	global := schema.Properties["global"]
	global.AdditionalProperties = false // in the file it is not: a chart above this one has other keys there
	schema.Properties["global"] = global
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
		if m, ok := value.(map[string]any); ok && property.Properties != nil {
			compare(t, prefix+key+".", m, property)
		}
	}
	for key := range schema.Properties {
		if _, ok := values[key]; !ok {
			t.Errorf("the schema knows %s%s, and values.yaml does not", prefix, key)
		}
	}
}

// others has another value than the default for each value of values.yaml, and values without which it has no effect.
var others = map[string]struct{ value, with string }{
	"mode":                        {value: `"destroy"`},
	"excludedNamespaces":          {value: `["shop"]`},
	"policy.defaults":             {value: `{"grace":"30m"}`},
	"policy.podOverrides":         {value: `"none"`},
	"policy.pods":                 {value: `[{"match":{"pod":"x"},"set":{"grace":"30m"}}]`},
	"global.imageRegistry":        {value: `"registry.example.com"`},
	"global.imagePullSecrets":     {value: `[{"name":"a"}]`},
	"image.registry":              {value: `""`},
	"image.repository":            {value: `"other"`},
	"image.tag":                   {value: `"v9"`},
	"image.digest":                {value: `"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"`},
	"image.pullPolicy":            {value: `"Always"`},
	"imagePullSecrets":            {value: `[{"name":"b"}]`},
	"cni.binDir":                  {value: `"/home/kubernetes/bin"`},
	"cni.confDir":                 {value: `"/etc/kubernetes/cni/net.d"`},
	"cni.dropIn":                  {value: `true`},
	"cni.wait":                    {value: `"1m"`},
	"cni.failurePolicy":           {value: `"fail"`},
	"cni.podOverrides":            {value: `"relax"`},
	"reaper.finder":               {value: `"bpf"`},
	"reaper.bpfSockets":           {value: `1000000`},
	"reaper.minGrace":             {value: `"2s"`},
	"reaper.adopt":                {value: `false`},
	"reaper.sample":               {value: `"5s"`},
	"reaper.cpuBudget":            {value: `"1%"`},
	"reaper.maxDestroysPerSecond": {value: `0`},
	"reaper.maxAsksPerSecond":     {value: `1`},
	"reaper.askCPUBudget":         {value: `"1%"`},
	"reaper.logLevel":             {value: `"debug"`},
	"reaper.logFormat":            {value: `"json"`},
	"reaper.extraArgs":            {value: `["--idle-exit=1h"]`},
	"reaper.extraEnv":             {value: `[{"name":"GOMEMLIMIT","value":"400MiB"}]`},
	"reaper.extraVolumeMounts":    {value: `[{"name":"x","mountPath":"/x"}]`},
	"reaper.capabilities":         {value: `["SYS_ADMIN","NET_ADMIN"]`},
	"reaper.securityContext":      {value: `{"appArmorProfile":{"type":"Localhost","localhostProfile":"x"}}`},
	"reaper.netnsDirs":            {value: `["/run/docker/netns"]`},
	"reaper.resources":            {value: `{"limits":{"memory":"1Gi"}}`},
	"reaper.startupProbe":         {value: `{"failureThreshold":60}`},
	"reaper.readinessProbe":       {value: `{"periodSeconds":20}`},
	"reaper.livenessProbe":        {value: `{"initialDelaySeconds":9}`},
	"installer.capabilities":      {value: `["CHOWN"]`},
	"installer.securityContext":   {value: `{"privileged":true}`},
	"installer.resources":         {value: `{"limits":{"memory":"1Gi"}}`},
	"seccomp.enabled":             {value: `true`},
	"seccomp.dir":                 {value: `"/var/lib/k0s/kubelet/seccomp"`, with: "seccomp.enabled=true"},
	"doctor":                      {value: `true`},
	"metrics.enabled":             {value: `false`},
	"metrics.port":                {value: `9999`},
	"metrics.podMonitor.enabled":  {value: `true`},
	"metrics.podMonitor.interval": {value: `"15s"`, with: "metrics.podMonitor.enabled=true"},
	"metrics.podMonitor.labels":   {value: `{"release":"prometheus"}`, with: "metrics.podMonitor.enabled=true"},

	"metrics.address":                      {value: `"hostIP"`},
	"metrics.podMonitor.namespace":         {value: `"monitoring"`, with: "metrics.podMonitor.enabled=true"},
	"metrics.podMonitor.scrapeTimeout":     {value: `"5s"`, with: "metrics.podMonitor.enabled=true"},
	"metrics.podMonitor.jobLabel":          {value: `"app"`, with: "metrics.podMonitor.enabled=true"},
	"metrics.podMonitor.relabelings":       {value: `[{"targetLabel":"cluster","replacement":"east"}]`, with: "metrics.podMonitor.enabled=true"},
	"metrics.podMonitor.metricRelabelings": {value: `[{"action":"drop","sourceLabels":["__name__"],"regex":"go_.*"}]`, with: "metrics.podMonitor.enabled=true"},
	"metrics.prometheusRule.enabled":       {value: `true`},
	"metrics.prometheusRule.namespace":     {value: `"monitoring"`, with: "metrics.prometheusRule.enabled=true"},
	"metrics.prometheusRule.labels":        {value: `{"release":"prometheus"}`, with: "metrics.prometheusRule.enabled=true"},
	"metrics.prometheusRule.ruleLabels":    {value: `{"team":"network"}`, with: "metrics.prometheusRule.enabled=true"},
	"metrics.prometheusRule.disabled":      {value: `["HalfcloseManySockets"]`, with: "metrics.prometheusRule.enabled=true"},
	"metrics.dashboard.enabled":            {value: `true`},
	"metrics.dashboard.namespace":          {value: `"monitoring"`, with: "metrics.dashboard.enabled=true"},
	"metrics.dashboard.labels":             {value: `{"grafana":"1"}`, with: "metrics.dashboard.enabled=true"},
	"metrics.dashboard.annotations":        {value: `{"grafana_folder":"Network"}`, with: "metrics.dashboard.enabled=true"},

	"uninstall":                      {value: `true`},
	"uninstallHook.enabled":          {value: `false`},
	"uninstallHook.image.registry":   {value: `"registry.example.com"`},
	"uninstallHook.image.repository": {value: `"bitnami/kubectl"`},
	"uninstallHook.image.tag":        {value: `"v1.33.0"`},
	"uninstallHook.image.digest":     {value: `"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"`},
	"uninstallHook.image.pullPolicy": {value: `"Always"`},
	"uninstallHook.resources":        {value: `{"limits":{"memory":"1Gi"}}`},
	"uninstallHook.timeout":          {value: `"9m"`},
	"test.timeout":                   {value: `"9m"`},
	"nameOverride":                   {value: `"reaper"`},
	"fullnameOverride":               {value: `"other"`},
	"commonLabels":                   {value: `{"team":"network"}`},
	"commonAnnotations":              {value: `{"example.com/team":"network"}`},
	"daemonSetAnnotations":           {value: `{"example.com/team":"network"}`},
	"podAnnotations":                 {value: `{"example.com/team":"network"}`},
	"podLabels":                      {value: `{"team":"network"}`},
	"serviceAccount.create":          {value: `false`},
	"serviceAccount.name":            {value: `"node-agent"`},
	"serviceAccount.annotations":     {value: `{"example.com/role":"x"}`},
	"nodeSelector":                   {value: `{"pool":"edge"}`},
	"affinity":                       {value: `{"nodeAffinity":{}}`},
	"tolerations":                    {value: `[]`},
	"priorityClassName":              {value: `"system-cluster-critical"`},
	"updateStrategy":                 {value: `{"type":"OnDelete"}`},
	"revisionHistoryLimit":           {value: `2`},
	"terminationGracePeriodSeconds":  {value: `30`},
	"podSecurityContext":             {value: `{"seccompProfile":{"type":"Localhost","localhostProfile":"x"}}`},
	"extraVolumes":                   {value: `[{"name":"x","emptyDir":{}}]`},
	"extraContainers":                {value: `[{"name":"proxy","image":"x"}]`},
	"openshift.enabled":              {value: `true`},
}

// TestNoValueIsDead changes each value alone: the objects change, and each is still one that the API accepts.
func TestNoValueIsDead(t *testing.T) {
	var root yaml.Node
	if err := yaml.Unmarshal(chartFile(t, "values.yaml"), &root); err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, row := range rows(t, root.Content[0], "") {
		_, rest, _ := strings.Cut(row, "`")
		name, _, _ := strings.Cut(rest, "`")
		known[name] = true
		if _, ok := others[name]; !ok {
			t.Errorf("the test has no other value of %s", name)
		}
	}
	defaults := sync.OnceValue(func() string { return mustTemplate(t) })
	for name, other := range others {
		if !known[name] {
			t.Errorf("the test has %s, and values.yaml does not", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := defaults()
			args := []string{"--set-json", name + "=" + other.value}
			if other.with != "" {
				before = mustTemplate(t, "--set", other.with)
				args = append(args, "--set", other.with)
			}
			after := mustTemplate(t, args...)
			if after == before {
				t.Errorf("%s=%s changes nothing", name, other.value)
			}
			parse(t, after)
		})
	}
}
