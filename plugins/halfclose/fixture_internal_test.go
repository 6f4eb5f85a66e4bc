// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// The spec versions of the plugin, those with CHECK, and those with GC and STATUS.
var (
	allVersions    = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}
	checkVersions  = []string{"0.4.0", "1.0.0", "1.1.0"}
	newestVersions = []string{"1.1.0"}
)

// node has a state directory, a container's netns and a fake reaper for calls of the plugin.
type node struct {
	store  *state.Store
	netns  string
	at     time.Time
	starts int   // how often a reaper was started
	fail   error // the error of Start
	refuse error // the error of Find
	opened int   // how many programs were opened
	closed int   // and closed
	// running has the results of successive calls of Running; the last one repeats. Without any, Running returns false.
	running []bool
}

func newNode(t *testing.T) *node {
	t.Helper()
	return &node{store: state.New(filepath.Join(t.TempDir(), "state")), netns: nstest.New(t).Path(), at: testTime}
}

// testBuild is the build of the plugin.
var testBuild = buildinfo.Build{Version: "v1.2.3", Commit: "abc"}

// Running implements starter.
func (n *node) Running() bool {
	if len(n.running) == 0 {
		return false
	}
	answer := n.running[0]
	n.running = n.running[min(1, len(n.running)-1):]
	return answer
}

// Find implements starter.
func (n *node) Find() (program, error) {
	if n.refuse != nil {
		return nil, n.refuse
	}
	n.opened++
	return n, nil
}

// Start implements program.
func (n *node) Start() error {
	n.starts++
	return n.fail
}

// Close implements program.
func (n *node) Close() { n.closed++ }

// outcome is the output of a call.
type outcome struct {
	code   int
	stdout string
	stderr string
	syslog []string
}

// Warn implements warner.
func (o *outcome) Warn(message string, args ...any) {
	o.syslog = append(o.syslog, fmt.Sprintln(append([]any{message}, args...)...))
}

// cniError returns the error that was printed.
func (o outcome) cniError(t *testing.T) types.Error {
	t.Helper()
	var e types.Error
	if err := json.Unmarshal([]byte(o.stdout), &e); err != nil || o.code == 0 || e.Code == 0 {
		t.Fatalf("no CNI error: exit code %d, stdout %q, stderr %q", o.code, o.stdout, o.stderr)
	}
	return e
}

// ok fails the test if the call failed.
func (o outcome) ok(t *testing.T) outcome {
	t.Helper()
	if o.code != 0 {
		t.Fatalf("exit code %d, stdout %q, stderr %q", o.code, o.stdout, o.stderr)
	}
	return o
}

// silent fails the test if the call failed, or printed or logged anything.
func (o outcome) silent(t *testing.T) {
	t.Helper()
	o.ok(t)
	if o.stdout != "" {
		t.Errorf("stdout %q, want none", o.stdout)
	}
	o.calm(t)
}

// calm fails the test if the call warned of anything.
func (o outcome) calm(t *testing.T) {
	t.Helper()
	if o.stderr != "" || o.syslog != nil {
		t.Errorf("stderr %q and system log %q, want none", o.stderr, o.syslog)
	}
}

// The attachment of every call that does not name another.
var blue = state.Attachment{ContainerID: "c1", IfName: "eth0"}

var testTime = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// call makes one call for the attachment blue.
func (n *node) call(t *testing.T, verb string, conf object) outcome {
	t.Helper()
	return n.callWith(t, verb, &skel.CmdArgs{
		ContainerID: blue.ContainerID, IfName: blue.IfName, Netns: n.netns, StdinData: conf.bytes(t),
		Args: "K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1;IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop",
	})
}

// callWith makes one call that skel accepts.
func (n *node) callWith(t *testing.T, verb string, args *skel.CmdArgs) outcome {
	t.Helper()
	return n.dispatched(verb, args.ContainerID, args.IfName, func(f skel.CNIFuncs, _ version.PluginInfo, _ string) *types.Error {
		verbs := map[string]func(*skel.CmdArgs) error{"ADD": f.Add, "DEL": f.Del, "CHECK": f.Check, "GC": f.GC, "STATUS": f.Status}
		return asSkelDoes(verbs[verb](args))
	})
}

func asSkelDoes(err error) *types.Error {
	var e *types.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	}
	return types.NewError(types.ErrInternal, err.Error(), "")
}

// dispatched makes one call with another dispatch than skel's.
func (n *node) dispatched(verb, containerID, ifname string, call dispatch) outcome {
	var stdout, stderr bytes.Buffer
	var o outcome
	env := map[string]string{envCommand: verb, envContainerID: containerID, envIfName: ifname}
	p := &plugin{
		getenv: func(key string) string { return env[key] },
		stdout: &stdout,
		stderr: &stderr,
		syslog: &o,
		store:  n.store,
		now:    func() time.Time { return n.at },
		reaper: n,
		build:  testBuild,
		exit:   func(code int) { panic(fmt.Sprintf("it hangs: exit code %d", code)) },
	}
	o.code = p.run(call)
	o.stdout, o.stderr = stdout.String(), stderr.String()
	return o
}

// record returns the record of an attachment, which must be there.
func (n *node) record(t *testing.T, a state.Attachment) state.Record {
	t.Helper()
	r, err := n.store.Get(a)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// compare returns how two records differ.
func compare(want, got state.Record) string {
	return cmp.Diff(want, got, cmp.AllowUnexported(policy.Layer{}))
}

// joined returns the most conservative mode and the longest grace of a record's policies.
func joined(r state.Record) policy.Policy {
	policies := r.Layers.Resolve(0).Policies
	p := policies[0]
	for _, other := range policies[1:] {
		p.Mode = policy.MostConservative(p.Mode, other.Mode)
		p.CloseWaitGrace = max(p.CloseWaitGrace, other.CloseWaitGrace)
	}
	return p
}

// recorded returns the attachments that have a record.
func (n *node) recorded(t *testing.T) []state.Attachment {
	t.Helper()
	l, err := n.store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []state.Attachment
	for _, r := range l.Records {
		all = append(all, r.Attachment)
	}
	return all
}

// files returns the names of all files among the records.
func (n *node) files(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(n.store.AttachmentsDir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// put writes a record as ADD would have.
func (n *node) put(t *testing.T, network string, a state.Attachment) {
	t.Helper()
	r := state.Record{
		Network: network, Attachment: a, Boot: bootID(t), Time: testTime,
		Netns: state.Netns{Path: n.netns, Identity: identityOf(t, n.netns)},
	}
	if err := n.store.Put(r); err != nil {
		t.Fatal(err)
	}
}

// file is the path of an attachment's record in the node's namespace.
func (n *node) file(t *testing.T, a state.Attachment) string {
	t.Helper()
	name, err := state.Record{Attachment: a, Netns: state.Netns{Identity: identityOf(t, n.netns)}}.FileName()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(n.store.AttachmentsDir(), name)
}

// damage writes a file with the name of a record, and returns its path.
func (n *node) damage(t *testing.T, a state.Attachment, content string) string {
	t.Helper()
	path := n.file(t, a)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// unusable puts a file at the path of the state directory: not even root can write in it.
func (n *node) unusable(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(n.store.Dir(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func bootID(t *testing.T) string {
	t.Helper()
	boot, err := netns.BootID()
	if err != nil {
		t.Fatal(err)
	}
	return boot
}

func identityOf(t *testing.T, path string) netns.Identity {
	t.Helper()
	id, err := identify(path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// each runs a test once for each spec version.
func each(t *testing.T, versions []string, test func(t *testing.T, version string)) {
	t.Helper()
	for _, v := range versions {
		t.Run(v, func(t *testing.T) { test(t, v) })
	}
}
