// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package capabilities_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/capability"

	"github.com/halfclose/halfclose/internal/capabilities"
	"github.com/halfclose/halfclose/internal/nstest"
)

func TestMissingIsAboutTheCallingThreadAlone(t *testing.T) {
	ns := nstest.New(t) // or skip: its threads may lose their capabilities
	ns.Do(t, func() {
		nstest.KeepCapabilities(t, capability.CAP_BPF)
		missing, err := capabilities.Missing(capability.CAP_BPF, capability.CAP_PERFMON, capability.CAP_NET_ADMIN)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"CAP_PERFMON", "CAP_NET_ADMIN"}, capabilities.Names("CAP_", missing...)); diff != "" {
			t.Errorf("missing (-want +got):\n%s", diff)
		}
	})
	if missing, err := capabilities.Missing(capability.CAP_NET_ADMIN); err != nil || len(missing) > 0 {
		t.Errorf("on another thread: %v, %v", missing, err)
	}
}
