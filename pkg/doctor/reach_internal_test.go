// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"testing"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

func TestTheReapersOperationsAreTried(t *testing.T) {
	nginx := owners.Process{PID: 7, Command: "nginx"}
	denied := owners.Denial{Count: 2, First: nginx, Err: unix.EPERM}
	entered := want{"netns-entry", OK, "can be entered", ""}
	found := want{"owners", OK, "all 9 visible processes", ""}
	probed := want{"peers", OK, "all 9 visible processes", ""}
	for name, tc := range map[string]struct {
		reach   reach
		process process
		wants   []want
	}{
		"everything works": {reach{access: owners.Access{Processes: 9}}, root(), []want{entered, found, probed}},
		"no CAP_SYS_ADMIN": {
			reach{enter: &netns.EnterError{Err: unix.EPERM}, access: owners.Access{Processes: 9}},
			process{effective: without(capability.CAP_SYS_ADMIN), bounding: every},
			[]want{{"netns-entry", Fail, "needs CAP_SYS_ADMIN", "start it with CAP_SYS_ADMIN"}, found, probed},
		},
		"setns refused": {
			reach{enter: &netns.EnterError{Err: unix.EPERM, Held: true}, access: owners.Access{Processes: 9}},
			root(),
			[]want{{"netns-entry", Fail, "CAP_SYS_ADMIN is held", "allow setns"}, found, probed},
		},
		"no CAP_SYS_PTRACE": {
			reach{access: owners.Access{Processes: 9, List: denied, Receive: denied}},
			process{effective: without(capability.CAP_SYS_PTRACE), bounding: every},
			[]want{entered, {"owners", Warn, "2 of 9 visible processes cannot be listed (nginx[7]: operation not permitted)", "CAP_SYS_PTRACE"}, {"peers", Warn, "2 of 9 visible processes refuse pidfd_getfd (nginx[7]: ", "CAP_SYS_PTRACE"}},
		},
		"a security module": {
			reach{access: owners.Access{Processes: 9, Receive: denied}},
			root(),
			[]want{entered, found, {"peers", Warn, "only the grace decides", "ptrace_scope=3"}},
		},
		"an old kernel": {
			reach{access: owners.Access{Processes: 9, Receive: owners.Denial{Count: 9, First: nginx, Err: unix.ENOSYS}}},
			root(),
			[]want{entered, found, {"peers", Warn, "no peer can be probed", "Linux 5.6"}},
		},
		"no other process": {
			reach{},
			root(),
			[]want{entered, {"owners", Warn, "no other process is visible", "hostPID"}, {"peers", Warn, "no other process is visible", "hostPID"}},
		},
		"no proc file system": {
			reach{err: errors.New("none")},
			root(),
			[]want{entered, {"owners", Warn, "could not be tried: none", "/proc"}, {"peers", Warn, "could not be tried: none", "/proc"}},
		},
	} {
		t.Run(name, func(t *testing.T) { expect(t, reportReach(tc.reach, tc.process), tc.wants...) })
	}
}
