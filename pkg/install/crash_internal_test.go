// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/cniconf/spec"
)

// scenario is an installation or uninstallation on a node.
type scenario struct {
	files     map[string]string
	uninstall bool
	dropIn    bool
	network   string
	others    []string // the other plugins of the network
	ours      int      // the number of our entries before, if there are several
}

func scenarios() map[string]scenario {
	twice := strings.Replace(bridgeAndOurs, `"plugins": [`, `"plugins": [{"type": "bridge"}, {"type": "halfclose"},`, 1)
	return map[string]scenario{
		"a list is extended":             {files: map[string]string{"10-pods.conflist": bridgeList}, network: "pods", others: []string{"bridge"}},
		"two of ours become one":         {files: map[string]string{"10-pods.conflist": twice}, network: "pods", others: []string{"bridge", "bridge"}, ours: 2},
		"a file becomes a list":          {files: map[string]string{"10-a.conf": bridgeConf, "20-b.conflist": otherList}, network: "single", others: []string{"bridge"}},
		"a file becomes an earlier list": {files: map[string]string{"10-a.json": bridgeConf, "20-b.conflist": otherList}, network: "single", others: []string{"bridge"}},
		"a list is updated": {
			files:   map[string]string{"10-a.conf": strings.Replace(bridgeConf, "1400", "9000", 1), "10-a.conflist": bridgeConfList, "10-a.conf.halfclose": bridgeConf},
			network: "single", others: []string{"bridge"},
		},
		"a drop-in is created":       {files: map[string]string{"10-pods.conflist": bridgeAndOurs}, dropIn: true, network: "pods", others: []string{"bridge"}},
		"a drop-in is updated":       {files: map[string]string{"10-pods.conflist": bridgeList, "pods/halfclose.conf": `{"type":"halfclose"}`}, dropIn: true, network: "pods", others: []string{"bridge"}},
		"a drop-in becomes an entry": {files: map[string]string{"10-pods.conflist": bridgeList, "pods/halfclose.conf": oursDropIn}, network: "pods", others: []string{"bridge"}},
		"the entry is removed":       {files: map[string]string{"10-pods.conflist": bridgeAndOurs, "20-b.conflist": bridgeAndOurs}, uninstall: true, network: "pods", others: []string{"bridge"}},
		"the old file is restored":   {files: map[string]string{"10-a.conflist": bridgeConfList, "10-a.conf.halfclose": bridgeConf, "20-b.conflist": otherList}, uninstall: true, network: "single", others: []string{"bridge"}},
		"a later file is restored":   {files: map[string]string{"10-a.conflist": bridgeConfList, "10-a.json.halfclose": bridgeConf, "20-b.conflist": otherList}, uninstall: true, network: "single", others: []string{"bridge"}},
		"a drop-in is removed":       {files: map[string]string{"10-pods.conflist": bridgeList, "pods/halfclose.conf": oursDropIn}, uninstall: true, network: "pods", others: []string{"bridge"}},
	}
}

// node creates the node before the scenario, with the plugin if a network lists it.
func (s scenario) node(t *testing.T) node {
	t.Helper()
	n := newMemoryNode(t, s.files)
	n.config.DropIn = s.dropIn
	if _, plugins := n.chosen(t); slices.Contains(plugins, spec.PluginType) {
		n.put(t, spec.PluginType, "an older program")
	}
	return n
}

// check fails unless containerd loads the network with all its plugins, and ours at most once and not first.
func (s scenario) check(t *testing.T, n node) {
	t.Helper()
	network, plugins := n.chosen(t)
	others := slices.DeleteFunc(slices.Clone(plugins), func(p string) bool { return p == spec.PluginType })
	if network != s.network || !slices.Equal(others, s.others) || len(plugins) > len(others)+max(s.ours, 1) || slices.Index(plugins, spec.PluginType) == 0 {
		t.Errorf("containerd loads %s with %v, want %s with %v and ours at most %d times", network, plugins, s.network, s.others, max(s.ours, 1))
	}
	if len(plugins) > len(others) && !n.isInstalled(t) {
		t.Error("it lists a plugin that does not exist")
	}
}

// isInstalled reports whether the plugin is installed and executable.
func (n node) isInstalled(t *testing.T) bool {
	t.Helper()
	d, err := n.config.openDirectory(n.config.BinDir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return d.isExecutable(spec.PluginType)
}

// temporaryFiles returns the files in the plugin directory that begin with a dot.
func (n node) temporaryFiles(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(n.config.BinDir, ".*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestAnInstallerMayBeKilledBeforeAnyOfItsSteps(t *testing.T) {
	t.Parallel()
	for name, s := range scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			undisturbed := s.node(t)
			undisturbed.runAgain(t, s.uninstall)
			want := undisturbed.files(t)
			for kill := 0; ; kill++ {
				n := s.node(t)
				var at step
				_, finished := runSteps(t, n, s.uninstall, n.dir(), func(step step) bool {
					at = step
					return step.n < kill
				})
				s.check(t, n)
				n.runAgain(t, s.uninstall)
				if names := n.temporaryFiles(t); len(names) > 0 {
					t.Errorf("the next run leaves %v", names)
				}
				if diff := cmp.Diff(want, n.files(t)); diff != "" {
					t.Errorf("files after the next run (-want +got)\n%s", diff)
				}
				if t.Failed() {
					t.Fatalf("killed before %v", at)
				}
				if finished {
					if kill < 10 {
						t.Errorf("there were only %d steps", kill)
					}
					return
				}
			}
		})
	}
}
