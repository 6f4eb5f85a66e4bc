// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/state"
)

// outcome is what happens to a leak in a network namespace while a fault lasts.
type outcome int

const (
	destroyed outcome = iota // as without the fault
	waits                    // it is destroyed when the fault is over
)

// reaperBoundary is a boundary of the reaper.
type reaperBoundary struct {
	boundary

	calls []uintptr
	where func(s *scene, v *site) func(*inject.Call) bool // nil: all of the calls
	flags []string
	times int // the fault ends after this number of calls; 0: it lasts
	// provoke, unless nil, makes the reaper call. It returns a check after the fault.
	provoke func(s *scene) (after func())
	// fromStart is set if the fault begins with the process, and not when the reaper answers.
	fromStart bool
	policy    string // of the namespace with the leak; "": destroying
	outcome   outcome
	// spares is set if the fault concerns one network namespace, and the others are on time.
	spares bool
	report report
	// remains is set if the report stays after the fault.
	remains bool
}

// ofRecord selects the calls on the record of the namespace with the leak.
func ofRecord(s *scene, v *site) func(*inject.Call) bool {
	return in(s.Store.AttachmentsDir(), v.container+"@")
}

// ofNetns selects the calls on the path of the namespace with the leak.
func ofNetns(_ *scene, v *site) func(*inject.Call) bool {
	path := v.Path()
	return func(c *inject.Call) bool { return c.Path() == path }
}

// ofState selects the calls on files of the state directory whose names begin with one of the prefixes.
func ofState(prefixes ...string) func(*scene, *site) func(*inject.Call) bool {
	return func(s *scene, _ *site) func(*inject.Call) bool {
		return func(c *inject.Call) bool {
			for _, p := range prefixes {
				if in(s.dir, p)(c) {
					return true
				}
			}
			return false
		}
	}
}

// The types of netlink messages to sock_diag (include/uapi/linux/sock_diag.h, inet_diag.h).
const (
	dumpRequest    = 18 // TCPDIAG_GETSOCK
	lookupRequest  = 20 // SOCK_DIAG_BY_FAMILY
	destroyRequest = 21 // SOCK_DESTROY
)

// requests selects the writes of requests of a type to netlink sockets.
func requests(typ uint16) func(*scene, *site) func(*inject.Call) bool {
	return func(*scene, *site) func(*inject.Call) bool {
		return func(c *inject.Call) bool {
			const header = 16 // struct nlmsghdr
			if c.Args[2] < header || !strings.HasPrefix(c.FD(0), "socket:") {
				return false
			}
			message, err := c.Data(1, header)
			return err == nil && binary.NativeEndian.Uint16(message[4:]) == typ && uint64(binary.NativeEndian.Uint32(message)) <= c.Args[2]
		}
	}
}

// withArgument selects the calls whose argument has one of the values.
func withArgument(arg int, values ...uint64) func(*scene, *site) func(*inject.Call) bool {
	return func(*scene, *site) func(*inject.Call) bool {
		return func(c *inject.Call) bool {
			return slices.Contains(values, c.Args[arg])
		}
	}
}

func calls(list ...uintptr) []uintptr { return list }

// reaperTable lists the boundaries of the reaper.
func reaperTable() []reaperBoundary {
	return []reaperBoundary{
		{
			boundary: boundary{
				"openat", "a record", errnos(unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EACCES, unix.EPERM, unix.EIO),
				"The network namespace in the file's name is only observed until the record can be read.",
			},
			calls: calls(unix.SYS_OPENAT, unix.SYS_OPENAT2), where: ofRecord, outcome: waits, spares: true,
			report: report{log: "invalid record in the state directory", status: `"problems":[{"file":"site`, metric: `halfclose_warnings_total{kind="records"} 1`},
		},
		{
			boundary: boundary{"openat", "a record", errnos(unix.EINTR), "It repeats the call."},
			calls:    calls(unix.SYS_OPENAT, unix.SYS_OPENAT2), where: ofRecord, outcome: destroyed, spares: true, times: 3,
		},
		{
			boundary: boundary{
				"openat, getdents64", "the directory of the records", errnos(unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EACCES, unix.EIO),
				"All known records stay registered, and are only observed until the directory can be read.",
			},
			calls: calls(unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_GETDENTS64),
			where: func(s *scene, _ *site) func(*inject.Call) bool {
				return func(c *inject.Call) bool { return c.Path() == s.Store.AttachmentsDir() }
			},
			outcome: waits,
			report:  report{log: "cannot list the attachments", status: `/attachments","problem":`, metric: `halfclose_warnings_total{kind="records"}`},
		},
		{
			boundary: boundary{
				"openat2", "the path of a network namespace", errnos(unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EACCES, unix.EPERM, unix.EIO, unix.ELOOP),
				"Its sockets are neither looked at nor destroyed until the path can be opened.",
			},
			calls: calls(unix.SYS_OPENAT, unix.SYS_OPENAT2), where: ofNetns, outcome: waits, spares: true,
			report: report{status: `"problem":"`},
		},
		{
			boundary: boundary{
				"setns", "a network namespace", errnos(unix.EPERM, unix.ENOMEM),
				"No socket is looked at or destroyed until a network namespace can be entered.",
			},
			calls: calls(unix.SYS_SETNS), outcome: waits,
			report: report{status: "enter network namespace"},
		},
		{
			boundary: boundary{
				"socket", "sock_diag", errnos(unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.EPERM, unix.EACCES, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT),
				"No socket is looked at or destroyed until a sock_diag socket can be opened.",
			},
			calls: calls(unix.SYS_SOCKET), where: withArgument(0, unix.AF_NETLINK), outcome: waits,
			report: report{status: "sock_diag"},
		},
		{
			boundary: boundary{
				"write to sock_diag", "a dump", errnos(unix.ENOBUFS, unix.ENOMEM, unix.EPERM, unix.ECONNREFUSED, unix.EAGAIN),
				"No half-closed socket is found until the request can be sent.",
			},
			calls: calls(unix.SYS_WRITE), where: requests(dumpRequest), outcome: waits,
			report: report{status: `"problem":"`},
		},
		{
			boundary: boundary{
				"write to sock_diag", "a look-up", errnos(unix.ENOBUFS, unix.ENOMEM, unix.EPERM, unix.ECONNREFUSED, unix.EAGAIN),
				"No socket is destroyed. It tries again until the request can be sent.",
			},
			calls: calls(unix.SYS_WRITE), where: requests(lookupRequest), outcome: waits,
			report: report{status: `"problem":"`}, // of a sweep, if its look-up of a listener fails first
		},
		{
			boundary: boundary{
				"write to sock_diag", "a destroy", errnos(unix.ENOBUFS, unix.ENOMEM, unix.EPERM, unix.ECONNREFUSED, unix.EAGAIN),
				"No socket is destroyed. It looks again, and tries again until the request can be sent.",
			},
			calls: calls(unix.SYS_WRITE), where: requests(destroyRequest), outcome: waits,
			report: report{log: "cannot look up or destroy sockets", status: `"problem":"`, metric: "halfclose_destroy_errors_total{errno="},
		},
		{
			boundary: boundary{
				"recvmsg, recvmmsg", "an answer of sock_diag", append(errnos(unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN), inject.Short(20), inject.Short(0)),
				"No socket is destroyed; it asks again until the answer is complete.",
			},
			calls: calls(unix.SYS_RECVMSG, unix.SYS_RECVMMSG), outcome: waits,
			report: report{status: `"problem":"`},
		},
		{
			boundary: boundary{
				"openat, write, fsync, renameat", "the saved candidates", errnos(unix.ENOSPC, unix.EROFS, unix.EIO, unix.EDQUOT, unix.EMFILE, unix.EACCES),
				"Sockets are destroyed on time. After a restart their ages begin with what the kernel proves.",
			},
			calls: calls(unix.SYS_OPENAT, unix.SYS_WRITE, unix.SYS_FSYNC, unix.SYS_RENAMEAT), where: ofState("candidates", ".candidates"),
			report: report{log: "cannot save ages", status: `"unwritable":[{"name":"candidates"`, metric: `halfclose_unwritable{file="candidates"} 1`},
		},
		{
			boundary: boundary{
				"openat, write, ftruncate", "the history", errnos(unix.ENOSPC, unix.EROFS, unix.EIO, unix.EDQUOT, unix.EMFILE, unix.EACCES),
				"Sockets are destroyed on time. Entries wait in memory until they can be written.",
			},
			calls: calls(unix.SYS_OPENAT, unix.SYS_WRITE, unix.SYS_FTRUNCATE), where: ofState("history"),
			report: report{log: "cannot write the history", status: `"name":"history"`},
		},
		{
			boundary: boundary{
				"openat", "the switch", errnos(unix.EIO, unix.EMFILE, unix.ENFILE, unix.EACCES, unix.ENOMEM),
				"All network namespaces are only observed until the switch can be read.",
			},
			calls: calls(unix.SYS_OPENAT), where: ofState("mode"), outcome: waits, fromStart: true,
			report: report{log: "read switch", status: "read switch"},
		},
		{
			boundary: boundary{
				"inotify_add_watch", "the directory of the records", errnos(unix.ENOSPC, unix.ENOMEM),
				"It reads the directory once a second.",
			},
			calls: calls(unix.SYS_INOTIFY_ADD_WATCH), fromStart: true, outcome: destroyed,
			report: report{log: "cannot follow the attachments directory"},
		},
		{
			boundary: boundary{
				"inotify_init1", "the reaper", errnos(unix.EMFILE, unix.ENFILE, unix.ENOMEM),
				"It reads the directories once a second.",
			},
			calls: calls(unix.SYS_INOTIFY_INIT1), fromStart: true, outcome: destroyed,
			report: report{log: "cannot follow the attachments directory"},
		},
		{
			boundary: boundary{
				"accept4", "a client of the API", errnos(unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM),
				"Sockets are destroyed on time. Clients wait until their connection can be accepted.",
			},
			calls: calls(unix.SYS_ACCEPT4), outcome: destroyed, provoke: askStatus, report: report{log: "Accept error"},
		},
		{
			boundary: boundary{
				"pidfd_open", "the owner of a socket", errnos(unix.EPERM, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ESRCH, unix.ENOSYS),
				"Its peer is not asked. The grace counts.",
			},
			calls: calls(unix.SYS_PIDFD_OPEN), policy: asking, outcome: destroyed,
		},
		{
			boundary: boundary{
				"pidfd_getfd", "a socket", errnos(unix.EPERM, unix.EMFILE, unix.ENFILE, unix.ESRCH, unix.EBADF, unix.ENOSYS),
				"Its peer is not asked. The grace counts.",
			},
			calls: calls(unix.SYS_PIDFD_GETFD), policy: asking, outcome: destroyed,
		},
		{
			boundary: boundary{
				"setsockopt", "a socket whose peer is asked", errnos(unix.ENOMEM, unix.EPERM, unix.ENOPROTOOPT, unix.EBADF),
				"Its options stay, or are restored. The grace counts.",
			},
			calls: calls(unix.SYS_SETSOCKOPT), where: withArgument(1, unix.IPPROTO_TCP), policy: asking, outcome: destroyed,
		},
		{
			boundary: boundary{
				"bpf", "loading the programs", errnos(unix.EPERM, unix.ENOMEM, unix.ENOSYS, unix.EINVAL),
				"It finds sockets with sockdiag.",
			},
			calls: calls(unix.SYS_BPF), where: withArgument(0, unix.BPF_PROG_LOAD), fromStart: true, outcome: destroyed, remains: true,
			flags:  []string{"--finder", "auto"},
			report: report{status: `"finder":{"name":"sockdiag","why":"`},
		},
		{
			boundary: boundary{
				"bpf", "creating a map", errnos(unix.EPERM, unix.ENOMEM, unix.EMFILE),
				"It finds sockets with sockdiag.",
			},
			calls: calls(unix.SYS_BPF), where: withArgument(0, unix.BPF_MAP_CREATE), fromStart: true, outcome: destroyed, remains: true,
			flags:  []string{"--finder", "auto"},
			report: report{status: `"finder":{"name":"sockdiag","why":"`},
		},
		{
			boundary: boundary{
				"bpf", "attaching a program", errnos(unix.EPERM, unix.ENOMEM, unix.EBUSY),
				"It finds sockets with sockdiag.",
			},
			calls: calls(unix.SYS_BPF), where: withArgument(0, unix.BPF_LINK_CREATE, unix.BPF_RAW_TRACEPOINT_OPEN), fromStart: true, outcome: destroyed, remains: true,
			flags:  []string{"--finder", "auto"},
			report: report{status: `"finder":{"name":"sockdiag","why":"`},
		},
		{
			boundary: boundary{
				"bpf", "reading and changing a map", errnos(unix.ENOMEM, unix.EPERM, unix.EFAULT),
				"It finds sockets with sockdiag, and tries the programs again later.",
			},
			calls: calls(unix.SYS_BPF), outcome: destroyed, flags: []string{"--finder", "auto"},
			where:  withArgument(0, unix.BPF_MAP_LOOKUP_ELEM, unix.BPF_MAP_UPDATE_ELEM, unix.BPF_MAP_DELETE_ELEM, unix.BPF_MAP_LOOKUP_BATCH, unix.BPF_MAP_GET_NEXT_KEY),
			report: report{status: `"finder":{"name":"sockdiag","why":"`},
		},
	}
}

// askStatus starts halfclose status, which waits for the reaper for some seconds.
func askStatus(s *scene) (after func()) {
	cmd := exec.Command(halfclose(), "status")
	cmd.Env = append(os.Environ(), state.EnvDir+"="+s.dir)
	p := testnode.Start(s.t, cmd)
	return func() {
		s.t.Helper()
		p.Wait()
	}
}

// asking lets the reaper ask the peer before the grace expires.
const asking = `{"probeAfter": "100ms", "grace": "8s"}`

func TestTheDocumentHasTheTableOfTheReaper(t *testing.T) {
	var want []string
	for _, b := range reaperTable() {
		want = append(want, b.line(b.report.String()))
	}
	inDocument(t, "The reaper", want)
}

func TestAFaultAtABoundaryOfTheReaperDestroysNothingWronglyAndIsOvercome(t *testing.T) {
	t.Parallel()
	for _, b := range reaperTable() {
		t.Run(b.title(), func(t *testing.T) {
			t.Parallel()
			for _, effect := range b.tested() {
				t.Run(effect.String(), func(t *testing.T) {
					t.Parallel()
					b.test(t, effect)
				})
			}
		})
	}
}

func (b reaperBoundary) test(t *testing.T, effect inject.Effect) {
	flags := b.flags
	if flags == nil {
		flags = []string{"--finder", "sockdiag"}
	}
	s := newScene(t, flags...)
	victim, control := s.newSite(), s.newSite()
	s.register(control.NS, control.container, destroying)
	fault := inject.Fault{Calls: b.calls, Effect: effect, Times: b.times}
	if b.where != nil {
		fault.Where = b.where(s, victim)
	}
	var injected *inject.Injected
	if b.fromStart {
		s.launch(b.calls)
		injected = s.calls.Inject(fault)
	} else {
		s.start(b.calls)
		s.awaitDestroyed("the control's first leak", control.leak)
		injected = s.calls.Inject(fault)
	}
	policy := destroying
	if b.policy != "" {
		policy = b.policy
	}
	before := options(t, victim.leak)
	s.register(victim.NS, victim.container, policy)
	after := func() {}
	if b.provoke != nil {
		after = b.provoke(s)
	}
	eventually(t, "the fault has its effect", func() bool { return injected.Hits() > 0 })
	s.awaitReport(b.report)
	if b.spares {
		s.awaitDestroyed("a leak in another namespace", leak(t, control.NS))
	}
	switch b.outcome {
	case destroyed:
		s.awaitDestroyed("the leak", victim.leak)
	case waits:
		if got := stateOf(t, victim.leak); got != closeWait {
			t.Errorf("the leak is in state %d during the fault", got)
		}
		if got := options(t, victim.leak); got != before {
			t.Errorf("its options are %v, want %v", got, before)
		}
	}
	injected.Lift()
	s.register(control.NS, control.container, destroying) // a change, so that the records are read now and not within half a minute
	s.awaitDestroyed("after the fault the leak", victim.leak)
	s.awaitDestroyed("after the fault a new leak", leak(t, victim.NS))
	after()
	eventually(t, "the status shows no fault any more", func() bool {
		return b.remains || b.report.status == "" || len(s.missing(report{status: b.report.status})) > 0
	})
	s.finish()
}
