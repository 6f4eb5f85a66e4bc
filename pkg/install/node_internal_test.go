// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	gocni "github.com/containerd/go-cni"
	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The networks of the tests.
const (
	bridgeList = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge"
    }
  ]
}
`
	bridgeAndOurs = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge"
    },
    ` + ourEntry + `
  ]
}
`
	ourEntry   = `{"type":"halfclose","mode":"observe","capabilities":{"io.kubernetes.cri.pod-annotations":true}}`
	otherList  = `{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"bridge"},{"type":"tuning"}]}`
	bridgeConf = `{"cniVersion": "0.3.1", "name": "single", "type": "bridge", "mtu": 1400}
`
	bridgeConfList = `{
  "cniVersion": "0.3.1",
  "name": "single",
  "plugins": [
    {"cniVersion": "0.3.1", "name": "single", "type": "bridge", "mtu": 1400},
    ` + ourEntry + `
  ]
}
`
	oursDropIn = ourEntry + "\n"
	// theCommand has as much of a program as ADD checks.
	theCommand  = "\x7fELF, the command"
	halfWritten = `{"cniVersion":"1.0.0","name":"pods","plug`
)

// node is the directories of a node in a temporary directory.
type node struct {
	config Config
}

// newNode creates a node with these network files and a bridge plugin.
func newNode(t testing.TB, files map[string]string) node {
	t.Helper()
	return newNodeIn(t, t.TempDir(), files)
}

// newMemoryNode is newNode on a tmpfs, if there is one. An installer syncs its files, which is slow on a disk for a test with
// hundreds of nodes.
func newMemoryNode(t testing.TB, files map[string]string) node {
	t.Helper()
	const memory = "/dev/shm"
	var fs unix.Statfs_t
	if err := unix.Statfs(memory, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC || unix.Access(memory, unix.W_OK) != nil {
		return newNode(t, files)
	}
	dir, err := os.MkdirTemp(memory, "halfclose-install")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return newNodeIn(t, dir, files)
}

func newNodeIn(t testing.TB, dir string, files map[string]string) node {
	t.Helper()
	n := node{Config{
		BinDir: filepath.Join(dir, "bin"), ConfDir: filepath.Join(dir, "net.d"),
		Plugin: filepath.Join(dir, "program"), Command: filepath.Join(dir, "command"),
		Entry: entry(t, `{"mode": "observe"}`),
	}}
	write(t, n.config.Plugin, "the program")
	write(t, n.config.Command, theCommand)
	if err := os.Chmod(n.config.Command, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(n.config.BinDir, "bridge"), "another program")
	if err := os.Mkdir(n.config.ConfDir, 0o755); err != nil {
		t.Fatal(err)
	}
	n.write(t, files)
	return n
}

func (n node) path(name string) string { return filepath.Join(n.config.ConfDir, name) }

// write writes files with an old modification time.
func (n node) write(t testing.TB, files map[string]string) {
	t.Helper()
	for name, data := range files {
		write(t, n.path(name), data)
		old(t, n.path(name))
	}
}

func write(t testing.TB, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

// old gives a file an old modification time, so that no process seems to be writing it.
func old(t testing.TB, path string) {
	t.Helper()
	long := fileTime()
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
}

// files returns all files in and below the network directory.
func (n node) files(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(n.config.ConfDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == n.config.ConfDir {
			return err
		}
		name, err := filepath.Rel(n.config.ConfDir, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			all[name] = "a directory"
			return nil
		}
		data, err := os.ReadFile(path)
		all[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (n node) want(t testing.TB, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, n.files(t)); diff != "" {
		t.Errorf("network files (-want +got)\n%s", diff)
	}
}

func (n node) install(t testing.TB) Result {
	t.Helper()
	r, err := Install(t.Context(), n.config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (n node) uninstall(t testing.TB) Removal {
	t.Helper()
	r, err := Uninstall(t.Context(), n.config, KeepPrograms)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// chosen returns the network that containerd's code loads, and the types of its plugins.
func (n node) chosen(t testing.TB) (network string, plugins []string) {
	t.Helper()
	network, plugins, err := n.load()
	if err != nil {
		t.Errorf("containerd loads no network: %v", err)
	}
	return network, plugins
}

func (n node) load() (network string, plugins []string, err error) {
	c, err := gocni.New(gocni.WithPluginConfDir(n.config.ConfDir), gocni.WithPluginDir([]string{n.config.BinDir}), gocni.WithPluginMaxConfNum(1))
	if err == nil {
		err = c.Load(gocni.WithDefaultConf)
	}
	if err != nil {
		return "", nil, err
	}
	config := c.GetConfig().Networks[0].Config
	for _, p := range config.Plugins {
		plugins = append(plugins, p.Network.Type)
	}
	return config.Name, plugins, nil
}

// named returns the types of the plugins of the network that libcni finds by name, as podman does.
func (n node) named(t testing.TB, name string) (plugins []string) {
	t.Helper()
	list, err := libcni.LoadNetworkConf(n.config.ConfDir, name)
	if err != nil {
		t.Fatalf("libcni loads no network: %v", err)
	}
	for _, p := range list.Plugins {
		plugins = append(plugins, p.Network.Type)
	}
	return plugins
}

// fileTime is the modification time of old files.
func fileTime() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func stat(t testing.TB, path string) unix.Stat_t {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// begin starts an installation.
func (n node) begin(t testing.TB) <-chan Result {
	t.Helper()
	done := make(chan Result, 1)
	go func() {
		r, err := Install(t.Context(), n.config)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	return done
}
