// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"testing"
	"time"
)

func TestInstallWaitsForANetwork(t *testing.T) {
	n := newNode(t, nil)
	n.config.Wait = time.Minute
	if err := os.Remove(n.config.ConfDir); err != nil {
		t.Fatal(err)
	}
	done := n.begin(t)
	write(t, n.path("10-pods.conflist"), bridgeList)
	if r := <-done; !r.Changed || r.Network != "pods" {
		t.Errorf("got %+v", r)
	}
	n.want(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
}

func TestInstallWaitsForWhoIsWriting(t *testing.T) {
	for name, file := range map[string]string{"the only network": "10-pods.conflist", "one that will be chosen before": "05-pods.conflist"} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, map[string]string{"10-pods.conflist": otherList})
			write(t, n.path(file), halfWritten)
			before := n.files(t)
			done := n.begin(t)
			if pause(t.Context(), 300*time.Millisecond); len(done) > 0 {
				t.Errorf("it did not wait: %+v", <-done)
			}
			n.want(t, before)
			write(t, n.path(file), bridgeList)
			if r := <-done; r.File != n.path(file) || !r.Changed {
				t.Errorf("got %+v", r)
			}
			before[file] = bridgeAndOurs
			n.want(t, before)
		})
	}
}
