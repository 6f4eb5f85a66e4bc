// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/cniconf/spec"
)

func TestAChangeByAnotherProcessAtAnyStepIsNotLost(t *testing.T) {
	t.Parallel()
	for _, uninstall := range []bool{false, true} {
		before, verb := bridgeList, "install"
		if uninstall {
			before, verb = bridgeAndOurs, "uninstall"
		}
		for name, writer := range foreignWriters() {
			t.Run(verb+" while another process "+name, func(t *testing.T) {
				t.Parallel()
				steps := 0
				for at := 0; ; at++ {
					n := newMemoryNode(t, map[string]string{"10-pods.conflist": before})
					n.put(t, spec.PluginType, "the program")
					last, _ := n.disturb(t, uninstall, at, writer, nil)
					if last.n < at {
						break
					}
					steps++
					n.checkForeign(t, writer.want(bridgeList))
					n.checkComplete(t, uninstall)
					n.checkForeign(t, writer.want(bridgeList))
					if t.Failed() {
						t.Fatalf("written before step %d of %d", at, last.n)
					}
				}
				if steps < 15 {
					t.Errorf("there were only %d steps", steps)
				}
			})
		}
	}
}

func TestAChangeByAnotherProcessBeforeAnInstallerIsKilledIsNotLost(t *testing.T) {
	t.Parallel()
	for name, every := range map[string]int{"renames a file into place": 1, "truncates the file and writes it in two parts": 3} {
		t.Run("another process "+name, func(t *testing.T) {
			t.Parallel()
			writer := foreignWriters()[name]
			for at := 0; ; at += every {
				var last step
				for kill := at; ; kill = last.n + 1 {
					n := newMemoryNode(t, map[string]string{"10-pods.conflist": bridgeList})
					n.put(t, spec.PluginType, "the program")
					var finished bool
					last, finished = n.disturb(t, false, at, writer, func(s step) bool { return s.n < kill || !s.changes() })
					if last.n < at {
						return
					}
					n.checkComplete(t, false)
					n.checkForeign(t, writer.want(bridgeList))
					if t.Failed() {
						t.Fatalf("written before step %d, killed before %v", at, last)
					}
					if finished {
						break
					}
				}
			}
		})
	}
}

// disturb runs an installer, and has another process write at one of its steps. The other process finishes four steps
// later, or after the installer. survives is at of runSteps; nil for true.
func (n node) disturb(t *testing.T, uninstall bool, at int, writer foreignWriter, survives func(step) bool) (last step, finished bool) {
	t.Helper()
	last.n = -1
	finish := func() {}
	_, finished = runSteps(t, n, uninstall, n.config.ConfDir, func(s step) bool {
		last = s
		switch s.n {
		case at:
			if f := writer.write(t, n.path("10-pods.conflist")); f != nil {
				finish = f
			}
		case at + 4:
			finish()
			finish = func() {}
		}
		return survives == nil || survives(s)
	})
	finish()
	return last, finished
}

// checkComplete fails unless another run leaves nothing to do and no temporary files.
func (n node) checkComplete(t *testing.T, uninstall bool) {
	t.Helper()
	n.runAgain(t, uninstall)
	want := 1
	if uninstall {
		want = 0
	}
	if _, plugins := n.chosen(t); count(plugins) != want {
		t.Errorf("containerd finally loads %v", plugins)
	}
	if names := slices.Collect(maps.Keys(n.files(t))); !cmp.Equal([]string{"10-pods.conflist"}, names) {
		t.Errorf("the final files are %v", names)
	}
}

func count(plugins []string) (n int) {
	for _, p := range plugins {
		if p == spec.PluginType {
			n++
		}
	}
	return n
}

// checkForeign fails unless the network has what another process wants, and our entry at most once.
func (n node) checkForeign(t *testing.T, want string) {
	t.Helper()
	n.checkFile(t, "10-pods.conflist", want)
}

func (n node) checkFile(t *testing.T, name, want string) {
	t.Helper()
	data, err := os.ReadFile(n.path(name))
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(data) {
		t.Fatalf("it is no JSON: %q", data)
	}
	if !reflect.DeepEqual(foreign(t, []byte(want)), foreign(t, data)) {
		t.Errorf("the change of another process is lost: the file is %s", data)
	}
	if _, plugins := n.chosen(t); count(plugins) > 1 || slices.Index(plugins, spec.PluginType) == 0 {
		t.Errorf("containerd loads %v", plugins)
	}
}

func TestASecondInstallerWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	for at := 0; ; at++ {
		n := newMemoryNode(t, map[string]string{"10-a.conf": bridgeConf})
		other := n
		other.config.Entry = entry(t, `{"mode": "off"}`)
		second := make(<-chan Result)
		steps, _ := runSteps(t, n, false, n.dir(), func(s step) bool {
			if s.n == at {
				second = other.begin(t)
				for range 100 {
					sleep(t.Context(), 0) // it gets as far as it can
				}
			}
			return true
		})
		if steps <= at {
			break
		}
		<-second
		if _, plugins := n.chosen(t); !cmp.Equal([]string{"bridge", "halfclose"}, plugins) {
			t.Errorf("with the second at step %d containerd loads %v", at, plugins)
		}
		n.install(t)
		want := map[string]string{"10-a.conflist": bridgeConfList, "10-a.conf.halfclose": bridgeConf}
		if diff := cmp.Diff(want, n.files(t)); diff != "" {
			t.Fatalf("with the second at step %d (-want +got)\n%s", at, diff)
		}
	}
}

func TestASinglePluginThatIsRewrittenAtAnyStepIsNotLost(t *testing.T) {
	t.Parallel()
	const newer = `{"cniVersion": "0.4.0", "name": "single", "type": "bridge", "mtu": 9000}`
	for _, uninstall := range []bool{false, true} {
		for _, inPlace := range []bool{false, true} {
			for at := 0; ; at++ {
				n := newMemoryNode(t, map[string]string{"10-a.conf": bridgeConf})
				want := []string{"bridge", "halfclose"}
				if uninstall {
					n.install(t)
					want = []string{"bridge"}
				}
				steps, _ := runSteps(t, n, uninstall, n.config.ConfDir, func(s step) bool {
					if s.n == at && inPlace {
						write(t, n.path("10-a.conf"), newer)
					} else if s.n == at {
						renameTo(t, n.path("10-a.conf"), newer)
					}
					return true
				})
				if steps <= at {
					break
				}
				n.runAgain(t, uninstall)
				d, err := n.config.openDirectory(n.config.ConfDir)
				if err != nil {
					t.Fatal(err)
				}
				files, err := d.load()
				d.Close()
				if err != nil {
					t.Fatal(err)
				}
				f, _, err := choose(files)
				if err != nil || f.List.CNIVersion != "0.4.0" || !strings.Contains(string(f.List.Plugins[0].Bytes), "9000") {
					t.Fatalf("written before step %d (in place: %t, uninstall: %t), it is lost: %v in %v", at, inPlace, uninstall, err, n.files(t))
				}
				if _, plugins := n.chosen(t); !cmp.Equal(want, plugins) {
					t.Fatalf("written before step %d: containerd loads %v", at, plugins)
				}
			}
		}
	}
}

func TestANetworkMayAppearOrDisappearAtAnyStep(t *testing.T) {
	t.Parallel()
	for at := 0; ; at++ {
		n := newMemoryNode(t, map[string]string{"10-pods.conflist": bridgeList})
		steps, _ := runSteps(t, n, false, n.config.ConfDir, func(s step) bool {
			if s.n == at {
				renameTo(t, n.path("05-other.conflist"), otherList)
				if err := os.Remove(n.path("10-pods.conflist")); err != nil {
					t.Error(err)
				}
			}
			return true
		})
		if steps <= at {
			break
		}
		n.install(t)
		if network, plugins := n.chosen(t); network != "other" || !cmp.Equal([]string{"bridge", "tuning", "halfclose"}, plugins) || len(n.files(t)) != 1 {
			t.Fatalf("exchanged before step %d, containerd loads %s with %v of %v", at, network, plugins, n.files(t))
		}
	}
}
