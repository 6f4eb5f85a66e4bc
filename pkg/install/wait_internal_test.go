// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestInstallWaitsForANetwork(t *testing.T) {
	n := newNode(t, nil)
	n.config.Wait = time.Minute
	waits := make(chan error, 100)
	n.config.OnWait = func(why error) { waits <- why }
	if err := os.Remove(n.config.ConfDir); err != nil {
		t.Fatal(err)
	}
	done := n.begin(t)
	if why := <-waits; !errors.Is(why, ErrNoNetwork) {
		t.Errorf("it waits because of %v", why)
	}
	write(t, n.path("10-pods.conflist"), bridgeList)
	if r := <-done; !r.Changed || r.Network != "pods" {
		t.Errorf("got %+v", r)
	}
	n.want(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
	if len(waits) > 0 {
		t.Error("it says again that it waits")
	}
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
