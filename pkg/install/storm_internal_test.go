// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/atomicdir"
	"github.com/halfclose/halfclose/internal/nstest"
)

// stormTime is how long all processes write at the same time.
const stormTime = 2 * time.Second

func TestInstallersAndAnotherWriterAtTheSameTimeLoseNothing(t *testing.T) {
	t.Parallel()
	for name, rewrite := range map[string]func(t *testing.T, path, data string){
		"the writer renames": renameTo,
		"the writer writes in place": func(t *testing.T, path, data string) {
			f, err := os.Create(path)
			put(t, f, err, data[:len(data)/2])
			sleep(t.Context(), time.Duration(rand.IntN(3))*time.Millisecond)
			put(t, f, nil, data[len(data)/2:])
			f.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, map[string]string{"10-pods.conflist": bridgeList, "20-other.conflist": otherList})
			fast := watchTimes{debounce: time.Millisecond, recheck: 5 * time.Millisecond, poll: 5 * time.Millisecond, busy: time.Millisecond}
			eager := backoff{initial: time.Millisecond, maximum: 2 * time.Millisecond, reset: time.Hour}
			watches := []*watching{n.watch(t, fast, eager), n.watch(t, fast, eager)}
			atomic := name == "the writer renames"

			end := time.Now().Add(stormTime)
			var wg sync.WaitGroup
			wg.Go(func() { n.rewrite(t, end, rewrite) })
			wg.Go(func() { n.observe(t, end, atomic) })
			for _, uninstalls := range []bool{false, true} {
				wg.Go(func() {
					for time.Now().Before(end) {
						err := n.run(t, uninstalls)
						if err != nil && !errors.Is(err, atomicdir.ErrBusy) {
							t.Error(err)
						}
						sleep(t.Context(), time.Duration(rand.IntN(20))*time.Millisecond)
					}
				})
			}
			wg.Wait()
			nstest.Eventually(t, 20*time.Second, "the entry is finally present", func() bool {
				_, plugins, err := n.load()
				return err == nil && cmp.Equal([]string{"bridge", "halfclose"}, plugins)
			})
			for _, w := range watches {
				w.stop()
			}
			files := n.files(t)
			if len(files) != 2 || files["20-other.conflist"] != otherList {
				t.Errorf("the final files are %v", files)
			}
		})
	}
}

// rewrite writes the network repeatedly, each time with another number, and fails if one is lost. It waits for the last
// number before it writes the next: for a moment an installer may have put an older one in place.
func (n node) rewrite(t *testing.T, end time.Time, write func(t *testing.T, path, data string)) {
	for mtu := 1000; time.Now().Before(end); mtu++ {
		write(t, n.path("10-pods.conflist"), strings.Replace(bridgeList, `"bridge"`, fmt.Sprintf(`"bridge", "mtu": %d`, mtu), 1))
		nstest.Eventually(t, 10*time.Second, "the last number is in the file", func() bool {
			data, err := os.ReadFile(n.path("10-pods.conflist"))
			return err == nil && json.Valid(data) && strings.Contains(string(data), fmt.Sprintf(`"mtu": %d`, mtu))
		})
		sleep(t.Context(), time.Duration(rand.IntN(10))*time.Millisecond)
	}
}

// observe loads the network as a runtime does, as often as possible. On a busy machine it continues after the end until it
// has seen both states, since the watches restore the entry.
func (n node) observe(t *testing.T, end time.Time, atomic bool) {
	seen := map[string]int{}
	seesBoth := func() bool { return seen["bridge"] > 0 && seen["bridge halfclose"] > 0 }
	for now := time.Now(); now.Before(end) || !seesBoth() && now.Before(end.Add(20*time.Second)); now = time.Now() {
		network, plugins, err := n.load()
		switch {
		case err != nil && !atomic: // written in part
			continue
		case err != nil || network != "pods" || len(plugins) > 2 || plugins[0] != "bridge":
			t.Errorf("containerd loads %q with %v: %v", network, plugins, err)
			return
		}
		seen[strings.Join(plugins, " ")]++
	}
	if !seesBoth() {
		t.Errorf("it has seen only %v", seen)
	}
}
