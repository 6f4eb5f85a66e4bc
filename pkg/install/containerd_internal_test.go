// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
)

func TestContainerdLoadsEachChange(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files           map[string]string
		dropIn, removal bool
		want            []string
	}{
		"an entry in a list":    {files: map[string]string{"10-pods.conflist": bridgeList}, want: []string{"bridge", "halfclose"}},
		"a single plugin":       {files: map[string]string{"10-pods.conf": bridgeConf}, want: []string{"bridge", "halfclose"}},
		"a drop-in":             {files: map[string]string{"10-pods.conflist": bridgeList}, dropIn: true, want: []string{"bridge", "halfclose"}},
		"an entry removed":      {files: map[string]string{"10-pods.conflist": bridgeAndOurs}, removal: true, want: []string{"bridge"}},
		"a drop-in removed":     {files: map[string]string{"10-pods.conflist": bridgeList, "pods/halfclose.conf": oursDropIn}, removal: true, want: []string{"bridge"}},
		"the old file restored": {files: map[string]string{"10-a.conflist": bridgeConfList, "10-a.conf.halfclose": bridgeConf}, removal: true, want: []string{"bridge"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, tt.files)
			n.config.DropIn = tt.dropIn
			loaded := n.containerd(t)
			if tt.removal {
				n.uninstall(t)
			} else {
				n.install(t)
			}
			nstest.Eventually(t, 10*time.Second, "containerd loads it", func() bool { return cmp.Equal(tt.want, loaded()) })
		})
	}
}

// containerd loads the networks on the same events as containerd: any except the creation of a file and a change of its
// mode (internal/cri/server/cni_conf_syncer.go). It returns the plugins of the last load.
func (n node) containerd(t testing.TB) func() []string {
	t.Helper()
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		err = notify.Add(n.config.ConfDir)
	}
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu     sync.Mutex
		loaded []string
	)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range notify.Events {
			if event.Has(fsnotify.Chmod) || event.Has(fsnotify.Create) {
				continue
			}
			_, plugins, err := n.load()
			if err != nil {
				continue // a listed file is gone, which causes another event
			}
			mu.Lock()
			loaded = plugins
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		notify.Close()
		<-done
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return loaded
	}
}
