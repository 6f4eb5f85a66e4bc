// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/cniconf/spec"
)

// scenario is something that an installer does to a node.
type scenario struct {
	files     map[string]string
	uninstall bool
	dropIn    bool
	network   string
	others    []string // the plugins of the network that are not ours
	ours      int      // how often it is listed before, if that is more than once
}

func scenarios() map[string]scenario {
	twice := strings.Replace(bridgeAndOurs, `"plugins": [`, `"plugins": [{"type": "bridge"}, {"type": "halfclose"},`, 1)
	return map[string]scenario{
		"a list is extended":       {files: map[string]string{"10-pods.conflist": bridgeList}, network: "pods", others: []string{"bridge"}},
		"two of ours become one":   {files: map[string]string{"10-pods.conflist": twice}, network: "pods", others: []string{"bridge", "bridge"}, ours: 2},
		"a list takes a place":     {files: map[string]string{"10-a.conf": bridgeConf, "20-b.conflist": otherList}, network: "single", others: []string{"bridge"}},
		"a list takes one earlier": {files: map[string]string{"10-a.json": bridgeConf, "20-b.conflist": otherList}, network: "single", others: []string{"bridge"}},
		"a list is renewed": {
			files:   map[string]string{"10-a.conf": strings.Replace(bridgeConf, "1400", "9000", 1), "10-a.conflist": bridgeConfList, "10-a.conf.halfclose": bridgeConf},
			network: "single", others: []string{"bridge"},
		},
		"a drop-in is made":          {files: map[string]string{"10-pods.conflist": bridgeAndOurs}, dropIn: true, network: "pods", others: []string{"bridge"}},
		"a drop-in is brought up":    {files: map[string]string{"10-pods.conflist": bridgeList, "pods/halfclose.conf": `{"type":"halfclose"}`}, dropIn: true, network: "pods", others: []string{"bridge"}},
		"a drop-in goes into a list": {files: map[string]string{"10-pods.conflist": bridgeList, "pods/halfclose.conf": oursDropIn}, network: "pods", others: []string{"bridge"}},
		"the entry is taken out":     {files: map[string]string{"10-pods.conflist": bridgeAndOurs, "20-b.conflist": bridgeAndOurs}, uninstall: true, network: "pods", others: []string{"bridge"}},
		"the old file comes back":    {files: map[string]string{"10-a.conflist": bridgeConfList, "10-a.conf.halfclose": bridgeConf, "20-b.conflist": otherList}, uninstall: true, network: "single", others: []string{"bridge"}},
		"the later file comes back":  {files: map[string]string{"10-a.conflist": bridgeConfList, "10-a.json.halfclose": bridgeConf, "20-b.conflist": otherList}, uninstall: true, network: "single", others: []string{"bridge"}},
		"a drop-in is taken out":     {files: map[string]string{"10-pods.conflist": bridgeList, "pods/halfclose.conf": oursDropIn}, uninstall: true, network: "pods", others: []string{"bridge"}},
	}
}

// node makes a node as it is before. What lists the plugin has found it there.
func (s scenario) node(t *testing.T) node {
	t.Helper()
	n := newNode(t, s.files)
	n.config.DropIn = s.dropIn
	if _, plugins := n.chosen(t); slices.Contains(plugins, spec.PluginType) {
		write(t, filepath.Join(n.config.BinDir, spec.PluginType), "an older program")
		if err := os.Chmod(filepath.Join(n.config.BinDir, spec.PluginType), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n node) dir() string { return filepath.Dir(n.config.ConfDir) }

func (n node) job(uninstall bool) job {
	j := job{Uninstall: uninstall, Config: n.config, Object: n.config.Entry.String()}
	j.Config.Entry = Entry{}
	return j
}

// again does the same in this process, undisturbed.
func (s scenario) again(t *testing.T, n node) {
	t.Helper()
	if s.uninstall {
		n.uninstall(t)
	} else {
		n.install(t)
	}
}

// check fails unless containerd loads the network, with all its plugins and ours at most once, behind another.
func (s scenario) check(t *testing.T, n node) {
	t.Helper()
	network, plugins := n.chosen(t)
	others := slices.DeleteFunc(slices.Clone(plugins), func(p string) bool { return p == spec.PluginType })
	if network != s.network || !slices.Equal(others, s.others) || len(plugins) > len(others)+max(s.ours, 1) || slices.Index(plugins, spec.PluginType) == 0 {
		t.Errorf("containerd loads %s with %v, want %s with %v and ours at most %d times", network, plugins, s.network, s.others, max(s.ours, 1))
	}
	if len(plugins) > len(others) && !n.runnable(t) {
		t.Error("it lists a plugin that is not there")
	}
}

func (n node) runnable(t *testing.T) bool {
	t.Helper()
	d, err := openDirectory("", n.config.BinDir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	return d.runnable(spec.PluginType)
}

func TestAnInstallerMayBeKilledBeforeAnyOfItsSteps(t *testing.T) {
	t.Parallel()
	for name, s := range scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			undisturbed := s.node(t)
			var kills []int
			runSteps(t, undisturbed.dir(), undisturbed.job(s.uninstall), func(step step) bool {
				if step.changes() {
					kills = append(kills, step.n)
				}
				return true
			})
			want := undisturbed.files(t)
			if len(kills) < 3 {
				t.Fatalf("it took %d steps that change something", len(kills))
			}
			for _, kill := range kills {
				n := s.node(t)
				var at step
				_, ended := runSteps(t, n.dir(), n.job(s.uninstall), func(step step) bool {
					at = step
					return step.n < kill
				})
				if ended {
					t.Fatalf("it ended before step %d", kill)
				}
				s.check(t, n)
				s.again(t, n)
				if diff := cmp.Diff(want, n.files(t)); diff != "" {
					t.Errorf("files after the next run (-want +got)\n%s", diff)
				}
				if t.Failed() {
					t.Fatalf("killed before %v", at)
				}
			}
		})
	}
}
