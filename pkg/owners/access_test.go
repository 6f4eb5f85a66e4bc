// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners_test

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/thread"
	"github.com/halfclose/halfclose/pkg/owners"
)

func TestTryAccessFindsTheCallersRights(t *testing.T) {
	otherUser(t, nil)
	p := owners.NewProc("/proc")
	for name, tc := range map[string]struct {
		keep          []capability.Cap
		list, receive bool // allowed
	}{
		"with both capabilities":      {[]capability.Cap{capability.CAP_SYS_PTRACE, capability.CAP_DAC_READ_SEARCH}, true, true},
		"without CAP_DAC_READ_SEARCH": {[]capability.Cap{capability.CAP_SYS_PTRACE}, false, true},
		"without CAP_SYS_PTRACE":      {[]capability.Cap{capability.CAP_DAC_READ_SEARCH}, false, false},
	} {
		thread.Discard(func() {
			before, err := p.TryAccess(context.Background())
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			nstest.KeepCapabilities(t, tc.keep...)
			a, err := p.TryAccess(context.Background())
			if err != nil || a.Processes == 0 {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
			// In a sandbox, some processes are inaccessible even with every capability.
			if denied := a.List.Count > before.List.Count; denied == tc.list || denied && !errors.Is(a.List.Err, fs.ErrPermission) {
				t.Errorf("%s: listing is denied for %d of %d processes, before for %d: %v", name, a.List.Count, a.Processes, before.List.Count, a.List.Err)
			}
			if denied := a.Receive.Count > before.Receive.Count; denied == tc.receive || denied && !errors.Is(a.Receive.Err, unix.EPERM) {
				t.Errorf("%s: receiving is denied for %d of %d processes, before for %d: %v", name, a.Receive.Count, a.Processes, before.Receive.Count, a.Receive.Err)
			}
		})
	}
}
