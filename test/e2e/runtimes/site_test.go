// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/test/e2e/runtimes/record"
)

const (
	// grace is the network's for CLOSE_WAIT; FIN_WAIT2 has none.
	grace = 2 * time.Second

	confDir   = "/etc/cni/net.d"
	pluginDir = "/opt/cni/bin"
	command   = "/usr/local/bin/halfclose"
	network   = "pods"
	conflist  = confDir + "/10-pods.conflist"
	before    = "before" // the plugin that notes how it is called, before halfclose in the chain
)

// site is a node with halfclose in its network, and one runtime.
type site struct {
	traits
	*testnode.Node

	pods *int // number of created pods
}

// newSite creates the network, installs halfclose as its documentation says, and starts the runtime.
func newSite(t *testing.T, tr traits) *site {
	t.Helper()
	s := &site{traits: tr, Node: testnode.New(t, state.DefaultDir), pods: new(int)}
	s.makeNetwork(t)
	install(t, "halfclose", command)
	install(t, "cni/halfclose", "/usr/local/lib/halfclose/cni/halfclose")
	s.halfclose(t, "install", "--close-wait-grace", grace.String(), "--fin-wait2-grace", "1h")
	s.addLast(t)
	s.runtime.start(t)
	t.Cleanup(s.StopReaper)
	return s
}

// in returns the site for a subtest.
func (s *site) in(t *testing.T) *site {
	sub := *s
	sub.Node = s.In(t)
	return &sub
}

// makeNetwork installs plugins and a conflist in the directories that every runtime loads.
func (s *site) makeNetwork(t *testing.T) {
	t.Helper()
	stale, err := filepath.Glob(confDir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stale {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{confDir, pluginDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, from := range map[string]string{
		"bridge": "cni/bridge", "host-local": "cni/host-local", "loopback": "cni/loopback", before: "prop", record.Last: "prop",
	} {
		if err := os.Symlink(program(t, from), filepath.Join(pluginDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.writeConflist(t, map[string]any{
		"cniVersion": s.version, "name": network,
		"plugins": []any{
			map[string]any{
				"type": "bridge", "bridge": "pods0", "isGateway": true,
				"ipam": map[string]any{
					"type": "host-local", "ranges": [][]map[string]string{{{"subnet": "10.89.0.0/16"}}}, "routes": []map[string]string{{"dst": "0.0.0.0/0"}},
				},
			},
			map[string]any{"type": before, "capabilities": map[string]bool{"io.kubernetes.cri.pod-annotations": true}},
		},
	})
}

// program is the path of a program that was built for the tests.
func program(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(os.Getenv(binVar), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make e2e", err)
	}
	return path
}

// install copies a program that was built for the tests to its documented path.
func install(t *testing.T, name, to string) {
	t.Helper()
	run(t, exec.Command("install", "-D", "-m", "755", program(t, name), to))
}

// addLast puts a plugin behind halfclose, which can be made to fail.
func (s *site) addLast(t *testing.T) {
	t.Helper()
	s.editConflist(t, func(conf map[string]any) {
		conf["plugins"] = append(conf["plugins"].([]any), map[string]any{"type": record.Last})
	})
}

// editConflist changes the conflist.
func (s *site) editConflist(t *testing.T, change func(conf map[string]any)) {
	t.Helper()
	b, err := os.ReadFile(conflist)
	if err != nil {
		t.Fatal(err)
	}
	var conf map[string]any
	if err := json.Unmarshal(b, &conf); err != nil {
		t.Fatal(err)
	}
	change(conf)
	s.writeConflist(t, conf)
}

// editEntry changes halfclose's entry in the conflist.
func (s *site) editEntry(t *testing.T, change func(entry map[string]any)) {
	t.Helper()
	s.editConflist(t, func(conf map[string]any) {
		for _, p := range conf["plugins"].([]any) {
			if entry := p.(map[string]any); entry["type"] == "halfclose" {
				change(entry)
			}
		}
	})
}

// writeConflist replaces the conflist as runtimes want to see it: by a rename within the directory.
func (s *site) writeConflist(t *testing.T, conf map[string]any) {
	t.Helper()
	b, err := json.MarshalIndent(conf, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conflist+".tmp", b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(conflist+".tmp", conflist); err != nil {
		t.Fatal(err)
	}
}

// halfclose runs a command that must succeed.
func (s *site) halfclose(t *testing.T, args ...string) {
	t.Helper()
	run(t, exec.Command(command, args...))
}

// run runs a command that must succeed, and returns what it prints to stdout.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := try(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// try runs a command, and returns its stdout. The error has both outputs.
func try(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", strings.Join(cmd.Args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// record returns the record of a pod.
func (s *site) record(t *testing.T, p *pod) state.Record {
	t.Helper()
	r, found := s.Record(p.attachment())
	if !found {
		t.Fatalf("%s has no record", p.name)
	}
	return r
}

// recorded reports whether a pod has a record.
func (s *site) recorded(p *pod) bool {
	_, found := s.Record(p.attachment())
	return found
}

// calls returns how a plugin was called for a pod, or for none if p is nil.
func calls(t *testing.T, p *pod, plugin, command string) (all []record.Call) {
	t.Helper()
	notes, err := record.Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range notes {
		if c.Plugin == plugin && c.Command == command && (p == nil || c.ContainerID == p.id) {
			all = append(all, c)
		}
	}
	return all
}
