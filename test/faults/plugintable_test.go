// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/node"
)

// pluginTable lists the boundaries of the plugin at ADD.
func pluginTable() []onceBoundary {
	const unregistered = "The pod starts and is not registered, unless failurePolicy is fail: ADD fails then."
	const recorded = "The attachment is recorded. No reaper is started; the next ADD tries again."
	return []onceBoundary{
		{
			boundary: boundary{"openat", "the network namespace", errnos(unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EACCES, unix.EPERM, unix.EIO), unregistered},
			calls:    calls(unix.SYS_OPENAT, unix.SYS_OPENAT2), where: func(w *paths) func(*inject.Call) bool { return in(w.netns) },
			message: "open network namespace",
		},
		{
			boundary: boundary{"setns", "the network namespace", errnos(unix.EPERM, unix.ENOMEM), unregistered},
			calls:    calls(unix.SYS_SETNS), message: "enter network namespace",
		},
		{
			boundary: boundary{"openat", "the state directory", errnos(unix.EACCES, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EIO, unix.EPERM), unregistered},
			calls:    calls(unix.SYS_OPENAT, unix.SYS_OPENAT2), where: inState, message: "register the attachment",
		},
		{
			boundary: boundary{"openat, write, fchmod, renameat", "the record", errnos(unix.ENOSPC, unix.EROFS, unix.EDQUOT, unix.EIO, unix.ENOMEM), unregistered},
			calls:    calls(unix.SYS_OPENAT, unix.SYS_WRITE, unix.SYS_FCHMOD, unix.SYS_RENAMEAT), message: "register the attachment",
			where: func(w *paths) func(*inject.Call) bool {
				return func(c *inject.Call) bool { return in(w.state, "attachments")(c) && isCreation(c) }
			},
		},
		{
			boundary: boundary{"write", "the record", errnos(unix.ENOSPC, unix.EIO, unix.EDQUOT), unregistered},
			calls:    calls(unix.SYS_WRITE), where: inState, message: "register the attachment",
		},
		{
			boundary: boundary{"renameat", "the record", errnos(unix.ENOSPC, unix.EIO, unix.EROFS, unix.ENOMEM), unregistered},
			calls:    calls(unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2), where: inState, message: "register the attachment",
		},
		{
			boundary: boundary{"write", "the record", []inject.Effect{inject.Short(7), inject.Short(1), inject.Fail(unix.EINTR)}, "It writes the rest."},
			calls:    calls(unix.SYS_WRITE), where: inState, succeeds: true, times: 5,
		},
		{
			boundary: boundary{"clone", "the reaper", errnos(unix.EAGAIN, unix.ENOMEM), recorded},
			calls:    calls(unix.SYS_CLONE, unix.SYS_CLONE3), succeeds: true, message: "cannot start one",
			where: func(*paths) func(*inject.Call) bool {
				return func(c *inject.Call) bool { return c.Number == unix.SYS_CLONE && c.Args[0]&unix.CLONE_THREAD == 0 }
			},
		},
		{
			boundary: boundary{"execve", "the reaper", errnos(unix.ENOMEM, unix.EACCES, unix.EPERM, unix.EIO, unix.ETXTBSY, unix.EMFILE), recorded},
			calls:    calls(unix.SYS_EXECVE), succeeds: true, message: "cannot start one",
			where: func(*paths) func(*inject.Call) bool {
				return func(c *inject.Call) bool { return strings.HasPrefix(c.Path(), "/proc/") }
			},
		},
		{
			boundary: boundary{"openat", "the reaper's program", errnos(unix.EMFILE, unix.EACCES, unix.EIO), recorded},
			calls:    calls(unix.SYS_OPENAT, unix.SYS_OPENAT2), succeeds: true, message: "cannot start one",
			where: func(w *paths) func(*inject.Call) bool {
				return func(c *inject.Call) bool {
					return strings.Contains(c.Path(), "halfclose-reaper") || c.Path() == halfclose()
				}
			},
		},
		{
			boundary: boundary{"socket", "the identity of the network namespace", errnos(unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS), unregistered},
			calls:    calls(unix.SYS_SOCKET), message: "identify network namespace: open socket", where: socketOf(unix.SOCK_DGRAM),
		},
		{
			boundary: boundary{"socket", "the reaper's API", errnos(unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS), "It starts a reaper, which exits if one runs."},
			calls:    calls(unix.SYS_SOCKET), succeeds: true, where: func(w *paths) func(*inject.Call) bool {
				isStream := socketOf(unix.SOCK_STREAM)(w)
				return func(c *inject.Call) bool { return isStream(c) && c.Program() == "halfclose" }
			},
		},
	}
}

// socketOf selects the creation of unix sockets of a type.
func socketOf(typ uint64) func(*paths) func(*inject.Call) bool {
	return func(*paths) func(*inject.Call) bool {
		return func(c *inject.Call) bool { return c.Args[0] == unix.AF_UNIX && c.Args[1]&0xf == typ }
	}
}

// pluginCall prepares a call of the plugin.
func pluginCall(verb, dir, netns, container, more string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(pluginDir(), "halfclose"))
	cmd.Env = append(os.Environ(), state.EnvDir+"="+dir, "CNI_COMMAND="+verb, "CNI_CONTAINERID="+container, "CNI_IFNAME=eth0",
		"CNI_NETNS="+netns, "CNI_PATH="+pluginDir())
	cmd.Stdin = strings.NewReader(`{"cniVersion": "1.0.0", "name": "faults", "type": "halfclose", "prevResult": {"cniVersion": "1.0.0"}` + more + `}`)
	return cmd
}

func TestTheDocumentHasTheTableOfThePlugin(t *testing.T) {
	var want []string
	for _, b := range pluginTable() {
		want = append(want, b.line(b.reported()))
	}
	inDocument(t, "The plugin", want)
}

func TestAFaultAtABoundaryOfThePluginPreventsNoPodAndLeavesNoHalfRecord(t *testing.T) {
	t.Parallel()
	for _, b := range pluginTable() {
		t.Run(b.title(), func(t *testing.T) {
			t.Parallel()
			for _, effect := range b.tested() {
				t.Run(effect.String(), func(t *testing.T) {
					t.Parallel()
					b.testAdd(t, effect, `, "failurePolicy": "ignore"`, true)
					if !b.succeeds {
						b.testAdd(t, effect, `, "failurePolicy": "fail"`, false)
					}
				})
			}
		})
	}
}

func (b onceBoundary) testAdd(t *testing.T, effect inject.Effect, policy string, starts bool) {
	t.Helper()
	node.Need(t)
	dir, err := os.MkdirTemp("/run", "hc")
	if err != nil {
		t.Fatal(err)
	}
	store, ns := state.New(dir), nstest.New(t)
	a := state.Attachment{ContainerID: "container", IfName: "eth0"}
	r := b.runOnce(t, pluginCall("ADD", dir, ns.Path(), a.ContainerID, policy), &paths{state: dir, netns: ns.Path()}, effect)
	if starts != (r.code == 0) {
		t.Errorf("exit code %d of ADD%s:\n%s%s", r.code, policy, r.stdout, r.stderr)
	}
	if starts && !strings.Contains(r.stdout, `"cniVersion"`) {
		t.Errorf("the result is %q", r.stdout)
	}
	listing, err := store.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(listing.Problems) > 0 || b.succeeds != (len(listing.Records) == 1) {
		t.Errorf("after ADD%s there are %d records and the problems %v", policy, len(listing.Records), listing.Problems)
	}
	if found := temporary(t, filepath.Join(dir, "attachments")); len(found) > 0 {
		t.Errorf("it has left %q", found)
	}
	// The fault is over: DEL and ADD work.
	for _, verb := range []string{"DEL", "ADD", "DEL"} {
		out, err := pluginCall(verb, dir, ns.Path(), a.ContainerID, `, "reaper": "external", "failurePolicy": "fail"`).CombinedOutput()
		if err != nil {
			t.Errorf("after the fault %s: %v: %s", verb, err, out)
		}
		if _, err := store.Get(a); (verb == "ADD") != (err == nil) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after the fault and %s the record's error is %v", verb, err)
		}
	}
	stopReaper(t, dir)
}
