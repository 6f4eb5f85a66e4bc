// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import "testing"

func TestOnlyTheContainerIDsOfRuntimesAreCut(t *testing.T) {
	for id, want := range map[string]string{
		"": "-",
		"b04f0ee2c6a1d58f1f9b0c5e4c7d3a2b1e0f9d8c7b6a59483726150493827160": "b04f0ee2c6a1d",
		"b04f0ee2c6a1d":               "b04f0ee2c6a1d",
		"legacy-soap-client":          "legacy-soap-client",
		"pid-4711-of-the-old-cluster": "pid-4711-of-the-old-cluster",
	} {
		if got := ContainerID(id); got != want {
			t.Errorf("%q is shown as %q, want %q", id, got, want)
		}
	}
}
