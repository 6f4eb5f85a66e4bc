// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package judgement_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// The limits for a process.
const (
	noSetns   = "no-setns"
	noAdmin   = "no-cap-sys-admin"
	noNetlink = "no-af-netlink"
	noGetfd   = "no-pidfd-getfd"
	oldGetfd  = "before-pidfd-getfd" // as a kernel before 5.6
	noBPF     = "no-bpf"
	oldBPF    = "before-bpf" // as a kernel without CONFIG_BPF_SYSCALL
	noTypes   = "no-btf"     // as a kernel without CONFIG_DEBUG_INFO_BTF
	without   = "without-"   // followed by a capability, or "none"
)

// confined replaces this process by a program under a limit.
func confined(limit string, command []string) error {
	runtime.LockOSThread() // the bounding set belongs to the thread
	var err error
	switch limit {
	case noSetns:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_SETNS, Errno: unix.EPERM})
	case noNetlink:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_SOCKET, Errno: unix.EAFNOSUPPORT, Arg: unix.AF_NETLINK})
	case noGetfd:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_PIDFD_GETFD, Errno: unix.EPERM})
	case oldGetfd:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_PIDFD_GETFD, Errno: unix.ENOSYS})
	case noBPF:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_BPF, Errno: unix.EPERM})
	case oldBPF:
		err = nstest.Refuse(nstest.Refusal{Call: unix.SYS_BPF, Errno: unix.ENOSYS})
	case noTypes:
		err = hideTypes()
	case without + "none":
	case noAdmin, without + "CAP_SYS_ADMIN":
		err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0)
	case without + "CAP_NET_ADMIN":
		err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0)
	case without + "CAP_SYS_PTRACE":
		err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_PTRACE, 0, 0, 0)
	case without + "CAP_DAC_READ_SEARCH":
		err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_DAC_READ_SEARCH, 0, 0, 0)
	default:
		err = fmt.Errorf("there is no limit %q", limit)
	}
	if err != nil {
		return err
	}
	return unix.Exec(command[0], command, os.Environ())
}

// hideTypes hides the kernel's types from this process.
func hideTypes() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("create a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	const types = "/sys/kernel/btf"
	if err := unix.Mount("tmpfs", types, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("hide %s: %w", types, err)
	}
	return nil
}

// under returns the beginning of a command line that executes its rest under a limit.
func under(limit string) []string {
	return []string{"env", envRole + "=" + roleConfined, self(), limit}
}

// TestReaperCommandReportsRefusedOperations starts reapers without a privilege that they need. Log, status, health and
// doctor show the reason within ten seconds, and containers still start.
func TestReaperCommandReportsRefusedOperations(t *testing.T) {
	const soon = 10 * time.Second
	unreachable := regexp.MustCompile(`(?m)^halfclose_unreachable_netns 1$`)
	eachFinder(t, func(t *testing.T, finder string) {
		for _, tt := range []struct {
			limit  string
			reason string // in log and status
			fatal  bool   // to health
			doctor string
			metric *regexp.Regexp
		}{
			{noSetns, "setns", true, "fail  netns-entry", unreachable},
			{noAdmin, "CAP_SYS_ADMIN", true, "fail  netns-entry", unreachable},
			{noNetlink, "AF_NETLINK", true, "fail  sock-destroy", unreachable},
			{noGetfd, "pidfd_getfd", false, "warn  peers", regexp.MustCompile(`(?m)^halfclose_\w*ask\w*\{[^}]*"refused"[^}]*\} [1-9]`)},
		} {
			t.Run(tt.limit, func(t *testing.T) {
				t.Parallel()
				r, s := idleReaper(t, finder), newScene(t)
				r.put(r.record(s.near, "pod", `{"probeAfter": "1s", "grace": "1h"}`))
				s.leftByServer()
				r.launch(under(tt.limit))
				nstest.Eventually(t, patience, "the reaper answers", func() bool {
					_, err := r.statusText()
					return err == nil
				})
				within := time.Now().Add(soon)
				reported := func(where string, is func() bool) {
					t.Helper()
					for !is() {
						if time.Now().After(within) {
							t.Errorf("not within %v in %s", soon, where)
							return
						}
						time.Sleep(100 * time.Millisecond)
					}
				}
				reported("the log", func() bool {
					for _, line := range r.logged(tt.reason) {
						if !strings.Contains(line, "level=INFO") {
							return true
						}
					}
					return false
				})
				reported("the status", func() bool {
					text, _ := r.statusText()
					return strings.Contains(text, tt.reason)
				})
				reported("the metrics", func() bool { return tt.metric.MatchString(r.metrics()) })
				reported("health", func() bool {
					_, err := r.Health(context.Background())
					return (err != nil) == tt.fatal
				})
				// doctor tries it and does not ask the reaper.
				if out, _ := r.runIn(under(tt.limit), "doctor"); !strings.Contains(out, tt.doctor) {
					t.Errorf("doctor does not print %q:\n%s", tt.doctor, out)
				}
				if out, err := r.add(nstest.New(t), "eth0", `"grace": "1h"`); err != nil {
					t.Errorf("ADD: %v\n%s", err, out)
				}
			})
		}
	})
}

// metrics returns the reaper's metrics.
func (r *reaper) metrics() string {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", r.store.SocketPath())
	}}}
	var text []byte
	r.ask(func() error {
		resp, err := client.Get("http://reaper/metrics")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err = io.ReadAll(resp.Body)
		return err
	})
	return string(text)
}
