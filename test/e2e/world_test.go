// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/node"
)

// world is a test node and the plugin that libcni calls for it.
type world struct {
	*testnode.Node

	dir string
	cni *libcni.CNIConfig
	// cache is the directory of libcni's cache.
	cache string
	exec  *execs
}

// newWorld creates a world with a state directory of its own. Its reaper is stopped when the test ends.
func newWorld(t *testing.T) *world {
	t.Helper()
	node.Need(t)
	dir, err := os.MkdirTemp("/run", "hc") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	return newWorldAt(t, dir, []string{state.EnvDir + "=" + dir})
}

// newWorldAt creates a world with the state directory that the plugins' environment leads to.
func newWorldAt(t *testing.T, dir string, env []string) *world {
	t.Helper()
	node.Need(t)
	w := &world{Node: testnode.New(t, dir), dir: dir, exec: &execs{env: env}, cache: filepath.Join(t.TempDir(), "cache")}
	w.cni = libcni.NewCNIConfigWithCacheDir([]string{pluginDir()}, w.cache, w.exec)
	t.Cleanup(w.StopReaper)
	return w
}

// execs calls plugins for libcni. It adds environment variables, and keeps the output.
type execs struct {
	invoke.DefaultExec
	env            []string
	stdout, stderr map[string]string // by plugin and verb: the last output
}

// ExecPlugin implements invoke.Exec.
func (e *execs) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	if e.stdout == nil {
		e.stdout, e.stderr = make(map[string]string), make(map[string]string)
	}
	var stderr bytes.Buffer
	raw := invoke.RawExec{Stderr: &stderr}
	out, err := raw.ExecPlugin(ctx, path, stdin, append(environ, e.env...))
	key := filepath.Base(path) + " " + commandOf(environ)
	e.stdout[key], e.stderr[key] = string(out), stderr.String()
	return out, err
}

func commandOf(environ []string) string {
	for _, kv := range environ {
		if v, ok := strings.CutPrefix(kv, "CNI_COMMAND="); ok {
			return v
		}
	}
	return ""
}

// network returns the shipped conflist with changes to its text: pairs of old and new, where each old text must occur once.
func network(t *testing.T, changes ...string) *libcni.NetworkConfigList {
	t.Helper()
	b, err := os.ReadFile(conflist)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(changes); i += 2 {
		if strings.Count(text, changes[i]) != 1 {
			t.Fatalf("%q is in the shipped conflist %d times, not once", changes[i], strings.Count(text, changes[i]))
		}
		text = strings.Replace(text, changes[i], changes[i+1], 1)
	}
	list, err := libcni.NetworkConfFromBytes([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// container is a named network namespace and its runtime configuration.
type container struct {
	*nstest.NS
	name    string
	path    string
	runtime *libcni.RuntimeConf
}

// containers counts the containers, for unique names.
var containers atomic.Int64

// newContainer creates a named namespace. It is removed when the test ends, unless it has been removed before.
func newContainer(t *testing.T, annotations map[string]string) *container {
	t.Helper()
	node.Need(t)
	name := fmt.Sprintf("c%d", containers.Add(1))
	c := &container{NS: nstest.New(t), name: name, path: "/run/netns/" + name}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(c.Path(), c.path, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mount the namespace at its name: %v", err)
	}
	t.Cleanup(func() { c.remove(t) })
	c.runtime = &libcni.RuntimeConf{
		ContainerID: name + "-0123456789abcdef", NetNS: c.path, IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "e2e"}, {"K8S_POD_NAME", name}, {"K8S_POD_UID", "uid-" + name}},
	}
	if annotations != nil {
		c.runtime.CapabilityArgs = map[string]any{policy.CapabilityPodAnnotations: annotations}
	}
	return c
}

// remove removes the name, as a runtime does after DEL.
func (c *container) remove(t *testing.T) {
	t.Helper()
	if _, err := os.Lstat(c.path); err != nil {
		return
	}
	if err := unix.Unmount(c.path, unix.MNT_DETACH); err != nil {
		t.Errorf("unmount %s: %v", c.path, err)
	}
	if err := os.Remove(c.path); err != nil {
		t.Error(err)
	}
}

func (c *container) attachment() state.Attachment {
	return state.Attachment{ContainerID: c.runtime.ContainerID, IfName: c.runtime.IfName}
}

// add calls ADD of every plugin of the network, and DEL when the test ends.
func (w *world) add(t *testing.T, list *libcni.NetworkConfigList, c *container) types.Result {
	t.Helper()
	r, err := w.cni.AddNetworkList(t.Context(), list, c.runtime)
	if err != nil {
		t.Fatalf("ADD: %v", err)
	}
	t.Cleanup(func() {
		if err := w.cni.DelNetworkList(context.Background(), list, c.runtime); err != nil {
			t.Errorf("DEL: %v", err)
		}
	})
	return r
}
