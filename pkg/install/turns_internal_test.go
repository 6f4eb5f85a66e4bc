// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTwoInstallersOfOursTakeTurns(t *testing.T) {
	t.Parallel()
	for at := 0; ; at++ {
		n := newMemoryNode(t, map[string]string{"10-a.conf": bridgeConf})
		other := n
		other.config.Entry = entry(t, `{"mode": "off"}`)
		var second <-chan Result
		took, _ := runSteps(t, n.dir(), n.job(false), func(s step) bool {
			if s.n == at {
				second = other.begin(t)
				pause(t.Context(), 5*time.Millisecond) // it gets as far as it can
			}
			return true
		})
		if took <= at {
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

func TestASinglePluginThatIsWrittenAtAnyStepIsNotLost(t *testing.T) {
	t.Parallel()
	const newer = `{"cniVersion": "0.4.0", "name": "single", "type": "bridge", "mtu": 9000}`
	for _, uninstall := range []bool{false, true} {
		for _, inPlace := range []bool{false, true} {
			for at := 0; ; at++ {
				n := newMemoryNode(t, map[string]string{"10-a.conf": bridgeConf})
				if uninstall {
					n.install(t)
				}
				took, _ := runSteps(t, n.config.ConfDir, n.job(uninstall), func(s step) bool {
					if s.n == at && inPlace {
						write(t, n.path("10-a.conf"), newer)
					} else if s.n == at {
						renameTo(t, n.path("10-a.conf"), newer)
					}
					return true
				})
				if took <= at {
					break
				}
				again := n.install
				want := []string{"bridge", "halfclose"}
				if uninstall {
					again, want = func(t testing.TB) Result { n.uninstall(t); return Result{} }, []string{"bridge"}
				}
				again(t)
				d, err := openDirectory("", n.config.ConfDir)
				if err != nil {
					t.Fatal(err)
				}
				files, err := d.load()
				d.close()
				if err != nil {
					t.Fatal(err)
				}
				f, _, err := choose(files)
				if err != nil || f.List.CNIVersion != "0.4.0" || !strings.Contains(string(f.List.Plugins[0].Bytes), "9000") {
					t.Fatalf("written before step %d (in place: %t, uninstall: %t), it is lost: %v in %v", at, inPlace, uninstall, err, n.files(t))
				}
				if _, plugins := n.chosen(t); !cmp.Equal(want, plugins) {
					t.Fatalf("written before step %d containerd loads %v", at, plugins)
				}
			}
		}
	}
}

func TestANetworkThatComesOrGoesAtAnyStep(t *testing.T) {
	t.Parallel()
	for at := 0; ; at++ {
		n := newMemoryNode(t, map[string]string{"10-pods.conflist": bridgeList})
		took, _ := runSteps(t, n.config.ConfDir, n.job(false), func(s step) bool {
			if s.n == at {
				renameTo(t, n.path("05-other.conflist"), otherList)
				if err := os.Remove(n.path("10-pods.conflist")); err != nil {
					t.Error(err)
				}
			}
			return true
		})
		if took <= at {
			break
		}
		n.install(t)
		if network, plugins := n.chosen(t); network != "other" || !cmp.Equal([]string{"bridge", "tuning", "halfclose"}, plugins) || len(n.files(t)) != 1 {
			t.Fatalf("exchanged before step %d, containerd loads %s with %v of %v", at, network, plugins, n.files(t))
		}
	}
}
