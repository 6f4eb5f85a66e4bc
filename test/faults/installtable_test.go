// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/test/node"
)

// installTable lists the boundaries of the installer.
func installTable() []onceBoundary {
	const unchanged = "It fails. The network stays as it was, and no runtime can see a part of a change."
	inConf := func(w *paths) func(*inject.Call) bool { return in(w.conf) }
	created := func(w *paths) func(*inject.Call) bool {
		return func(c *inject.Call) bool { return in(w.conf)(c) && isCreation(c) }
	}
	return []onceBoundary{
		{
			boundary: boundary{"openat, openat2", "the network's directory", errnos(unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EACCES, unix.EIO), unchanged},
			calls:    calls(unix.SYS_OPENAT, unix.SYS_OPENAT2), where: inConf, message: "net.d",
		},
		{
			boundary: boundary{"getdents64", "the network's directory", errnos(unix.EIO, unix.ENOMEM), unchanged},
			calls:    calls(unix.SYS_GETDENTS64), where: inConf, message: "net.d",
		},
		{
			boundary: boundary{"read", "the network's file", errnos(unix.EIO), unchanged},
			calls:    calls(unix.SYS_READ), message: "10-pods.conflist",
			where: func(w *paths) func(*inject.Call) bool { return in(w.conf, "10-pods.conflist") },
		},
		{
			boundary: boundary{"openat, write", "the new file", errnos(unix.ENOSPC, unix.EROFS, unix.EDQUOT, unix.EIO, unix.EMFILE, unix.EACCES), unchanged},
			calls:    calls(unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_WRITE), message: "net.d",
			where: func(w *paths) func(*inject.Call) bool { return in(w.conf, ".halfclose-") },
		},
		{
			boundary: boundary{"write", "the new file", errnos(unix.ENOSPC, unix.EDQUOT, unix.EIO), unchanged},
			calls:    calls(unix.SYS_WRITE), message: "net.d",
			where: func(w *paths) func(*inject.Call) bool { return in(w.conf, ".halfclose-") },
		},
		{
			boundary: boundary{"write", "the new file", []inject.Effect{inject.Short(9)}, "It writes the rest."},
			calls:    calls(unix.SYS_WRITE), succeeds: true, times: 5,
			where: func(w *paths) func(*inject.Call) bool { return in(w.conf, ".halfclose-") },
		},
		{
			boundary: boundary{"fsync", "the new file", errnos(unix.EIO, unix.ENOSPC, unix.EDQUOT), unchanged},
			calls:    calls(unix.SYS_FSYNC), message: "net.d",
			where: func(w *paths) func(*inject.Call) bool { return in(w.conf, ".halfclose-") },
		},
		{
			boundary: boundary{"renameat2", "the new file", errnos(unix.EIO, unix.ENOSPC, unix.EROFS, unix.EACCES), unchanged},
			calls:    calls(unix.SYS_RENAMEAT2, unix.SYS_RENAMEAT), where: inConf, message: "net.d",
		},
		{
			boundary: boundary{"renameat2", "an exchange of two files", errnos(unix.EINVAL, unix.ENOSYS), "It renames without an exchange, as on file systems that support none."},
			calls:    calls(unix.SYS_RENAMEAT2), succeeds: true,
			where: func(w *paths) func(*inject.Call) bool {
				return func(c *inject.Call) bool { return in(w.conf)(c) && c.Args[4] != 0 }
			},
		},
		{
			boundary: boundary{"flock", "the lock of the directory", errnos(unix.ENOLCK, unix.EIO), unchanged},
			calls:    calls(unix.SYS_FLOCK), where: created, message: ".halfclose.lock",
		},
		{
			boundary: boundary{"flock", "the lock of the directory", errnos(unix.EINTR), "It repeats the call."},
			calls:    calls(unix.SYS_FLOCK), where: created, succeeds: true, times: 3,
		},
		{
			boundary: boundary{"openat, write, fchmod, fsync, renameat2", "a program", errnos(unix.ENOSPC, unix.EROFS, unix.EIO, unix.EDQUOT, unix.EMFILE), unchanged},
			calls:    calls(unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_WRITE, unix.SYS_FCHMOD, unix.SYS_FSYNC, unix.SYS_RENAMEAT2, unix.SYS_RENAMEAT), message: "bin",
			where: func(w *paths) func(*inject.Call) bool { return in(w.bin, ".halfclose-") },
		},
		{
			boundary: boundary{"symlinkat", "the reaper's program", errnos(unix.ENOSPC, unix.EROFS, unix.EIO, unix.EPERM), unchanged},
			calls:    calls(unix.SYS_SYMLINKAT), message: "halfclose-reaper",
			where: func(w *paths) func(*inject.Call) bool { return in(w.bin) },
		},
	}
}

const podNetwork = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}
`

func TestTheDocumentHasTheTableOfTheInstaller(t *testing.T) {
	var want []string
	for _, b := range installTable() {
		want = append(want, b.line(b.reported()))
	}
	inDocument(t, "The installer", want)
}

func TestAFaultAtABoundaryOfTheInstallerLeavesAWholeNetwork(t *testing.T) {
	t.Parallel()
	for _, b := range installTable() {
		t.Run(b.title(), func(t *testing.T) {
			t.Parallel()
			for _, effect := range b.tested() {
				t.Run(effect.String(), func(t *testing.T) {
					t.Parallel()
					b.testInstall(t, effect)
				})
			}
		})
	}
}

func (b onceBoundary) testInstall(t *testing.T, effect inject.Effect) {
	node.Need(t)
	dir := t.TempDir()
	w := &paths{conf: filepath.Join(dir, "net.d"), bin: filepath.Join(dir, "bin")}
	for _, d := range []string{w.conf, w.bin} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(w.conf, "10-pods.conflist")
	for path, text := range map[string]string{file: podNetwork, filepath.Join(w.bin, "bridge"): "a plugin"} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	install := func() *exec.Cmd {
		return exec.Command(halfclose(), "install", "--cni-bin-dir", w.bin, "--cni-conf-dir", w.conf, "--wait", "0s")
	}
	r := b.runOnce(t, install(), w, effect)
	if b.succeeds != (r.code == 0) {
		t.Errorf("exit code %d:\n%s%s", r.code, r.stdout, r.stderr)
	}
	network := readNetwork(t, w.conf)
	switch text, _ := os.ReadFile(file); {
	case b.succeeds && !strings.HasSuffix(network, "halfclose"):
		t.Errorf("the network is %s", network)
	case !b.succeeds && string(text) != podNetwork && !strings.HasSuffix(network, "halfclose"):
		t.Errorf("the network has changed: %s", text)
	}
	if out, err := install().CombinedOutput(); err != nil {
		t.Fatalf("after the fault: %v: %s", err, out)
	}
	if got := readNetwork(t, w.conf); got != "pods: bridge halfclose" {
		t.Errorf("after the fault the network is %s", got)
	}
	if found := temporary(t, w.conf, w.bin); len(found) > 0 {
		t.Errorf("it has left %q", found)
	}
}

// readNetwork reads the only network as a runtime does.
func readNetwork(t *testing.T, dir string) string {
	t.Helper()
	files, err := libcni.ConfFiles(dir, []string{".conf", ".conflist", ".json"})
	if err != nil || len(files) != 1 {
		t.Fatalf("the networks are %q, %v", files, err)
	}
	list, err := libcni.ConfListFromFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	text := list.Name + ":"
	for _, p := range list.Plugins {
		text += " " + p.Network.Type
	}
	return text
}
