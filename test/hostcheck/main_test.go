// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/test/node"
)

// roleVar makes the test binary run as hostcheck.
const roleVar = "_HALFCLOSE_HOSTCHECK_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVar) != "" {
		os.Unsetenv(roleVar)
		os.Exit(checker{release: 100 * time.Millisecond, exit: 100 * time.Millisecond}.main(os.Args[1], os.Args[2:]))
	}
	os.Exit(node.Suite{Name: "hostcheck", Top: "../.."}.Run(m.Run))
}

// prepare prepares hostcheck with a shell script as its command.
func prepare(t *testing.T, script string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	node.Need(t)
	stderr = new(bytes.Buffer)
	cmd = exec.Command(os.Args[0], "sh", "-c", script)
	cmd.Env = append(os.Environ(), roleVar+"=hostcheck")
	cmd.Stderr = stderr
	return cmd, stderr
}

var (
	number = regexp.MustCompile(`[0-9]+`)
	note   = regexp.MustCompile(`(?m)^hostcheck: note: .*\n`)
)

// lines splits what hostcheck prints, without notes and with an N for each number.
func lines(text string) []string {
	return strings.Split(strings.TrimSpace(number.ReplaceAllString(note.ReplaceAllString(text, ""), "N")), "\n")
}

func TestHostcheckNamesWhatTheCommandLeavesAndFails(t *testing.T) {
	const clean = "hostcheck: sh left nothing behind"
	changed := "hostcheck: sh changed the host: N differences"
	for _, tt := range []struct {
		name, script string
		code         int
		want         []string
	}{
		{name: "nothing", script: "sleep 0.01 & mkdir /run/netns; rmdir /run/netns; true", want: []string{clean}},
		{name: "nothing, and fails", script: "exit 7", code: 7, want: []string{clean}},
		{name: "nothing, and is killed", script: "kill -9 $$", code: 128 + 9, want: []string{clean}},
		{
			name: "a process in a session of its own, and its child", script: "setsid sh -c 'sleep 1000 & exec sleep 2000' &", code: 1,
			want: []string{"hostcheck: process left, and killed: N sleep N", "hostcheck: process left, and killed: N sleep N", changed},
		},
		{
			name: "a mount", script: "mkdir /run/m; mount -t tmpfs x /run/m", code: 1,
			want: []string{"hostcheck: left: mount /run/m of tmpfs", changed},
		},
		{
			name: "a named network namespace", script: "ip netns add left", code: 1,
			want: []string{
				"hostcheck: left: file /run/netns", "hostcheck: left: file /run/netns/left", "hostcheck: left: mount /run/netns of tmpfs",
				"hostcheck: left: mount /run/netns/left of nsfs", changed,
			},
		},
		{
			name: "a second mount over an existing one", script: "mount -t tmpfs x /var/lib", code: 1,
			want: []string{`hostcheck: changed: mount /var/lib of tmpfs: "+++", was "++"`, changed},
		},
		{name: "a link", script: "ip link add name b0 type bridge", code: 1, want: []string{"hostcheck: left: link b0", changed}},
		{
			name: "an address", script: "ip address add 192.0.2.9/32 dev lo", code: 1,
			want: []string{"hostcheck: left: address N.N.N.N/N of link N", changed},
		},
		{
			name: "a sysctl of a network namespace", script: "echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind", code: 1,
			want: []string{`hostcheck: changed: sysctl net.ipv4.ip_nonlocal_bind: "N", was "N"`, changed},
		},
		{
			name: "a file, and exits with another code", script: "mkdir -p /var/lib/cni/results; exit 9", code: 9,
			want: []string{"hostcheck: left: file /var/lib/cni", "hostcheck: left: file /var/lib/cni/results", changed},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd, stderr := prepare(t, tt.script)
			if code := exitCode(t, cmd); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(lines(strings.Join(tt.want, "\n")), lines(stderr.String())); diff != "" {
				t.Errorf("it prints (-want +got)\n%s", diff)
			}
		})
	}
}

func exitCode(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	if err := cmd.Run(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			t.Fatal(err)
		}
	}
	return cmd.ProcessState.ExitCode()
}

func TestARuleThatIsLeftIsNamed(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		nstest.Skip(t, "nft is not installed: run apt-get install nftables")
	}
	cmd, stderr := prepare(t, "nft add table inet left; nft add chain inet left c")
	if code := exitCode(t, cmd); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if !strings.Contains(stderr.String(), "left: nftables: table inet left") {
		t.Errorf("it prints\n%s", stderr)
	}
}

// cgroupRoot returns where a cgroup hierarchy is mounted, in which the test may create cgroups.
func cgroupRoot(t *testing.T) string {
	t.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil || len(mounts) == 0 {
		nstest.Skip(t, fmt.Sprintf("no cgroup hierarchy is mounted: %v", err))
	}
	return mounts[0].Mountpoint
}

func TestACgroupOfTheRunIsNamed(t *testing.T) {
	root := cgroupRoot(t)
	cmd, stderr := prepare(t, "mkdir "+root+"/halfclose-test-$"+nstest.RunVar+"-1")
	code := exitCode(t, cmd)
	name := filepath.Join(root, fmt.Sprintf("halfclose-test-%d-1", cmd.ProcessState.Pid()))
	if err := os.Remove(name); err != nil {
		nstest.NeedPrivilege(t, "create a cgroup", err)
	}
	if code != 1 || !strings.Contains(stderr.String(), "hostcheck: left: cgroup "+name+"\n") {
		t.Errorf("exit code %d, and it prints\n%s", code, stderr)
	}
}

// foreign changes the machine as another program does that runs beside hostcheck.
func foreign(t *testing.T) (cgroup string) {
	t.Helper()
	if _, err := node.AddNetns("foreign"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.DeleteNetns("foreign") })
	dir := t.TempDir()
	if err := unix.Mount("foreign", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	cgroup, err := os.MkdirTemp(cgroupRoot(t), "foreign")
	if err != nil {
		nstest.NeedPrivilege(t, "create a cgroup", err)
	}
	t.Cleanup(func() { _ = os.Remove(cgroup) })
	const fileMax = "/proc/sys/fs/file-max"
	was, err := os.ReadFile(fileMax)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(was)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(fileMax, strconv.AppendUint(nil, n-1, 10), 0); err != nil {
		nstest.NeedPrivilege(t, "set fs.file-max", err)
	}
	t.Cleanup(func() { _ = os.WriteFile(fileMax, was, 0) })
	return cgroup
}

// start starts hostcheck and waits until its command has printed a word, after the first snapshot.
func start(t *testing.T, script string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	cmd, stderr = prepare(t, script)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var word string
	if _, err := fmt.Fscan(out, &word); err != nil {
		t.Fatal(err)
	}
	return cmd, stderr
}

func TestChangesByAnotherProgramAreNotesAndNoFailure(t *testing.T) {
	cmd, stderr := start(t, `trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done`)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	cgroup := foreign(t)
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("hostcheck fails: %v", err)
	}
	const by = "hostcheck: note: maybe by another program: "
	for _, want := range []string{by + "left: cgroup " + cgroup + "\n", by + "changed: sysctl fs.file-max: ", "hostcheck: sh left nothing behind\n"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("it does not print %q, but\n%s", want, stderr)
		}
	}
}

func TestASignalIsPassedOnAndTheHostIsCheckedAfterwards(t *testing.T) {
	cmd, stderr := start(t, `trap 'mkdir /run/netns; exit 3' TERM; echo ready; while :; do sleep 0.05; done`)
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(stderr.String(), "left: file /run/netns\n") {
		t.Errorf("exit code %d, and it prints\n%s", code, stderr)
	}
}

func TestTheCommandHasTheDirectoriesThatItsEnvironmentNames(t *testing.T) {
	dir, err := os.MkdirTemp("/run", "named")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cmd, stderr := prepare(t, `touch "$NAMED/log" && [ "$(ls /run | grep -c '^named')" = 1 ]`)
	cmd.Env = append(cmd.Env, "NAMED="+dir)
	if code := exitCode(t, cmd); code != 0 {
		t.Errorf("exit code %d, and it prints\n%s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "log")); err != nil {
		t.Error(err)
	}
}
