// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/test/node"
)

// roleVar makes this program hostcheck, when it is not the test.
const roleVar = "_HALFCLOSE_HOSTCHECK_ROLE"

// onNode is nil if the tests run on a node of their own, and otherwise says why not.
var onNode error // set once, before the tests run

func TestMain(m *testing.M) {
	if os.Getenv(roleVar) != "" {
		os.Unsetenv(roleVar)
		os.Exit(checker{settle: 100 * time.Millisecond, patience: 100 * time.Millisecond}.main(os.Args[1], os.Args[2:]))
	}
	os.Exit(node.Suite{Name: "hostcheck", Top: "../.."}.Run(func(err error) int {
		onNode = err
		return m.Run()
	}))
}

// prepare prepares hostcheck of a shell's command. It looks at the node, which no other test changes.
func prepare(t *testing.T, script string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	if onNode != nil {
		nstest.NeedPrivilege(t, "make a node to test on", onNode)
	}
	stderr = new(bytes.Buffer)
	cmd = exec.Command(os.Args[0], "sh", "-c", script)
	cmd.Env = append(os.Environ(), roleVar+"=hostcheck")
	cmd.Stderr = stderr
	return cmd, stderr
}

// said is what hostcheck has printed, with an N for each number.
func said(text string) []string {
	return strings.Split(strings.TrimSpace(regexp.MustCompile(`[0-9]+`).ReplaceAllString(text, "N")), "\n")
}

func TestWhatACommandLeavesIsNamedAndFailsIt(t *testing.T) {
	const same = "hostcheck: the host is as it was"
	changed := "hostcheck: sh has left the host changed: N differences"
	for _, tt := range []struct {
		name, script, undo string
		code               int
		said               []string
	}{
		{name: "nothing", script: "sleep 0.01 & mkdir /run/netns; rmdir /run/netns; true", said: []string{same}},
		{name: "nothing, and fails", script: "exit 7", code: 7, said: []string{same}},
		{name: "nothing, and is killed", script: "kill -9 $$", code: 128 + 9, said: []string{same}},
		{
			name: "a process that went into a session of its own, and its child", script: "setsid sh -c 'sleep 1000 & exec sleep 2000' &", code: 1,
			said: []string{"hostcheck: process left, and killed: N sleep N", "hostcheck: process left, and killed: N sleep N", changed},
		},
		{
			name: "a mount", script: "mkdir /run/m; mount -t tmpfs x /run/m", undo: "umount /run/m; rmdir /run/m", code: 1,
			said: []string{"hostcheck: left: mount /run/m of tmpfs", changed},
		},
		{
			name: "a second mount over one that was there", script: "mount -t tmpfs x /var/lib", undo: "umount /var/lib", code: 1,
			said: []string{`hostcheck: changed: mount /var/lib of tmpfs: "++", was "+"`, changed},
		},
		{
			name: "a link", script: "ip link add name b0 type bridge", undo: "ip link del b0", code: 1,
			said: []string{"hostcheck: left: link b0", changed},
		},
		{
			name: "an address", script: "ip address add 192.0.2.9/32 dev lo", undo: "ip address del 192.0.2.9/32 dev lo", code: 1,
			said: []string{"hostcheck: left: address N.N.N.N/N of link N", changed},
		},
		{
			name: "a sysctl", script: "echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind", undo: "echo 0 >/proc/sys/net/ipv4/ip_nonlocal_bind", code: 1,
			said: []string{`hostcheck: changed: sysctl net.ipv4.ip_nonlocal_bind: "N", was "N"`, changed},
		},
		{
			name: "a file, and exits with another code", script: "mkdir -p /var/lib/cni/results; exit 9", undo: "rm -r /var/lib/cni", code: 9,
			said: []string{"hostcheck: left: file /var/lib/cni", "hostcheck: left: file /var/lib/cni/results", changed},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd, stderr := prepare(t, tt.script)
			if tt.undo != "" {
				defer func() {
					if out, err := exec.Command("sh", "-c", tt.undo).CombinedOutput(); err != nil {
						t.Errorf("%s: %v: %s", tt.undo, err, out)
					}
				}()
			}
			err := cmd.Run()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(said(strings.Join(tt.said, "\n")), said(stderr.String())); diff != "" {
				t.Errorf("it says (-want +got)\n%s", diff)
			}
		})
	}
}

func TestARuleThatStaysIsNamed(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		const why = "nft is not installed: apt-get install nftables"
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	cmd, stderr := prepare(t, "nft add table inet left; nft add chain inet left c")
	defer func() {
		if out, err := exec.Command("nft", "delete", "table", "inet", "left").CombinedOutput(); err != nil {
			t.Errorf("delete the table: %v: %s", err, out)
		}
	}()
	if err := cmd.Run(); err == nil {
		t.Error("hostcheck succeeds")
	}
	if !strings.Contains(stderr.String(), "left: nftables: table inet left") {
		t.Errorf("it says\n%s", stderr)
	}
}

func TestASignalIsPassedOnAndTheHostLookedAtAllTheSame(t *testing.T) {
	cmd, stderr := prepare(t, `trap 'mkdir /run/netns; exit 3' TERM; echo ready; while :; do sleep 0.05; done`)
	defer os.Remove("/run/netns")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var word string
	if _, err := fmt.Fscan(out, &word); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(stderr.String(), "left: file /run/netns\n") {
		t.Errorf("exit code %d, and it says\n%s", code, stderr)
	}
}
