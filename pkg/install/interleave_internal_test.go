// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/cniconf/spec"
)

func TestNothingIsLostThatAnotherWritesAtAnyStep(t *testing.T) {
	t.Parallel()
	for _, uninstall := range []bool{false, true} {
		before, verb := bridgeList, "install"
		if uninstall {
			before, verb = bridgeAndOurs, "uninstall"
		}
		for name, other := range foreignWriters() {
			t.Run(verb+" while another "+name, func(t *testing.T) {
				t.Parallel()
				steps := 0
				for at := 0; ; at++ {
					n := newMemoryNode(t, map[string]string{"10-pods.conflist": before})
					write(t, filepath.Join(n.config.BinDir, spec.PluginType), "the program")
					if err := os.Chmod(filepath.Join(n.config.BinDir, spec.PluginType), 0o755); err != nil {
						t.Fatal(err)
					}
					where, took := n.disturb(t, uninstall, at, other)
					if took <= at {
						break
					}
					steps++
					n.checkForeign(t, other.want(bridgeList))
					if !t.Failed() {
						again(t, n, uninstall)
						n.checkForeign(t, other.want(bridgeList))
					}
					if t.Failed() {
						t.Fatalf("with the other before %v", where)
					}
				}
				if steps < 15 {
					t.Errorf("there were only %d steps", steps)
				}
			})
		}
	}
}

// disturb runs an installer, and lets another write at a step of it.
func (n node) disturb(t *testing.T, uninstall bool, at int, other foreignWriter) (where step, took int) {
	t.Helper()
	var wg sync.WaitGroup
	end := func() {}
	took, _ = runSteps(t, n.config.ConfDir, n.job(uninstall), func(s step) bool {
		switch {
		case s.n == at:
			where = s
			if finish := other.write(t, n.path("10-pods.conflist")); finish != nil {
				end = sync.OnceFunc(finish)
			}
			if other.late {
				wg.Go(func() {
					pause(t.Context(), 50*time.Millisecond)
					end()
				})
			}
		case s.n == at+4 && !other.late:
			end()
		}
		return true
	})
	wg.Wait()
	end()
	return where, took
}

// again installs or uninstalls undisturbed, and fails unless that leaves nothing to do and nothing behind.
func again(t *testing.T, n node, uninstall bool) {
	t.Helper()
	want := 1
	if uninstall {
		n.uninstall(t)
		want = 0
	} else {
		n.install(t)
	}
	if _, plugins := n.chosen(t); count(plugins) != want {
		t.Errorf("in the end containerd loads %v", plugins)
	}
	var names []string
	for name := range n.files(t) {
		names = append(names, name)
	}
	if !cmp.Equal([]string{"10-pods.conflist"}, names) {
		t.Errorf("in the end there are %v", names)
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

// checkForeign fails unless the network says what another wants, with ours in it at most once.
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
		t.Errorf("what another has written is lost: it says %s", data)
	}
	if _, plugins := n.chosen(t); count(plugins) > 1 || slices.Index(plugins, spec.PluginType) == 0 {
		t.Errorf("containerd loads %v", plugins)
	}
}

func TestNothingIsLostThatAnotherWritesBeforeAnInstallerIsKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes hundreds of processes: leave out -short")
	}
	for name, every := range map[string]int{"renames a file into its place": 1, "truncates the file and writes it in two goes": 3} {
		t.Run("another "+name, func(t *testing.T) {
			t.Parallel()
			other := foreignWriters()[name]
			for at := 0; ; at += every {
				var last step
				for kill := at; ; kill = last.n + 1 { // before each step from there on that changes something
					n := newMemoryNode(t, map[string]string{"10-pods.conflist": bridgeList})
					var finish func()
					_, ended := runSteps(t, n.config.ConfDir, n.job(false), func(s step) bool {
						if last = s; s.n == at {
							finish = other.write(t, n.path("10-pods.conflist"))
						}
						if s.n == at+4 && finish != nil {
							finish()
							finish = nil
						}
						return s.n < kill || !s.changes()
					})
					if finish != nil {
						finish()
					}
					if last.n < at {
						return
					}
					again(t, n, false)
					n.checkForeign(t, other.want(bridgeList))
					if t.Failed() {
						t.Fatalf("with the other before step %d, killed before %v", at, last)
					}
					if ended {
						break
					}
				}
			}
		})
	}
}
