// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/state"
)

var other = state.Attachment{ContainerID: "c2", IfName: "eth0"}

func TestDelDropsTheRecordByItsName(t *testing.T) {
	each(t, allVersions, func(t *testing.T, version string) {
		tests := []struct {
			name  string
			conf  object
			netns string // instead of the netns's path
		}{
			{name: "with all that ADD had", conf: chained(version)},
			{name: "with an empty CNI_NETNS and no prevResult", conf: chained(version).with(object{"prevResult": nil}), netns: "-"},
			{name: "with a CNI_NETNS that is gone", conf: chained(version), netns: "/run/netns/gone"},
			{name: "with every mistake in the configuration", conf: chained(version).with(mistakes).with(object{"failurePolicy": "fail"})},
			{name: "with a prevResult and annotations that are none", conf: chained(version).with(object{"prevResult": 1}).with(annotated(7))},
			{name: "with another network's name", conf: chained(version).with(object{"name": "red"})},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				n := newNode(t)
				n.call(t, "ADD", chained(version)).ok(t)
				n.put(t, "blue", other)
				if tt.netns != "" {
					n.netns = strings.Trim(tt.netns, "-")
				}
				n.call(t, "DEL", tt.conf).silent(t)
				if diff := cmp.Diff([]state.Attachment{other}, n.recorded(t)); diff != "" {
					t.Errorf("recorded after the first DEL (-want +got):\n%s", diff)
				}
				n.call(t, "DEL", tt.conf).silent(t)
				if diff := cmp.Diff([]state.Attachment{other}, n.recorded(t)); diff != "" {
					t.Errorf("recorded after the second DEL (-want +got):\n%s", diff)
				}
			})
		}
	})
}

func TestDelBeforeAddSucceeds(t *testing.T) {
	each(t, allVersions, func(t *testing.T, version string) {
		n := newNode(t)
		n.call(t, "DEL", chained(version)).silent(t)
		if _, err := os.Stat(n.store.Dir()); !os.IsNotExist(err) {
			t.Errorf("stat of the state directory: %v, want that DEL made none", err)
		}
	})
}

func TestDelDropsAFileThatIsNoRecord(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "half-written": `{"version": 1, "netw`, "newer": `{"version": 99}`} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			path := n.damage(t, blue, content)
			n.call(t, "DEL", chained("1.0.0")).silent(t)
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("lstat: %v, want that the file is gone", err)
			}
		})
	}
}

// refusal returns a dispatch that refuses the call as skel does.
func refusal(code uint, afterTheCall bool) dispatch {
	return func(f skel.CNIFuncs, _ version.PluginInfo, _ string) *types.Error {
		if afterTheCall {
			if err := f.Del(&skel.CmdArgs{ContainerID: blue.ContainerID, IfName: blue.IfName, StdinData: []byte(`{}`)}); err != nil {
				panic(err)
			}
		}
		return types.NewError(code, "refused", "by skel")
	}
}

func TestDelDropsTheRecordThoughSkelRefusedTheCall(t *testing.T) {
	tests := []struct {
		name  string
		code  uint
		after bool
	}{
		{"an unreadable stdin", types.ErrIOFailure, false},
		{"a configuration that is no JSON", types.ErrDecodingFailure, false},
		{"a configuration without a name", types.ErrInvalidNetworkConfig, false},
		{"an environment without CNI_PATH", types.ErrInvalidEnvironmentVariables, false},
		{"a CNI_NETNS that leads to the plugin's own namespace", types.ErrInvalidNetNS, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.put(t, "blue", blue)
			n.put(t, "blue", other)
			for range 2 {
				o := n.dispatched("DEL", blue.ContainerID, blue.IfName, refusal(tt.code, tt.after)).ok(t)
				if o.stdout != "" || !strings.Contains(o.stderr, "by skel") {
					t.Errorf("stdout %q, stderr %q, want nothing and a warning", o.stdout, o.stderr)
				}
				if diff := cmp.Diff([]state.Attachment{other}, n.recorded(t)); diff != "" {
					t.Errorf("recorded (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestDelSucceedsWhereTheNameIsTooLongForARecord(t *testing.T) {
	long := strings.Repeat("c", 300)
	for _, code := range []uint{types.ErrDecodingFailure, types.ErrInvalidEnvironmentVariables} {
		o := newNode(t).dispatched("DEL", long, "eth0", refusal(code, false)).ok(t)
		if o.stdout != "" || !strings.Contains(o.stderr, "too long") {
			t.Errorf("code %d: stdout %q, stderr %q, want nothing and a warning", code, o.stdout, o.stderr)
		}
	}
}

func TestDelKeepsSkelsErrorWhereTheNameOrTheVersionIsWrong(t *testing.T) {
	for _, tt := range []struct {
		a    state.Attachment
		code uint
	}{
		{blue, types.ErrIncompatibleCNIVersion},
		{state.Attachment{ContainerID: "../c1", IfName: "eth0"}, types.ErrInvalidEnvironmentVariables},
		{state.Attachment{ContainerID: "c1", IfName: "a/b"}, types.ErrInvalidEnvironmentVariables},
		{state.Attachment{ContainerID: "c1"}, types.ErrInvalidEnvironmentVariables},
		{state.Attachment{IfName: "eth0"}, types.ErrInvalidEnvironmentVariables},
	} {
		n := newNode(t)
		n.put(t, "blue", blue)
		if e := n.dispatched("DEL", tt.a.ContainerID, tt.a.IfName, refusal(tt.code, false)).cniError(t); e.Code != tt.code {
			t.Errorf("%v: %+v, want code %d", tt.a, e, tt.code)
		}
		if diff := cmp.Diff([]state.Attachment{blue}, n.recorded(t)); diff != "" {
			t.Errorf("%v: recorded after code %d (-want +got):\n%s", tt.a, tt.code, diff)
		}
	}
}

func TestOnlyDelGoesOnWhereSkelRefused(t *testing.T) {
	for _, verb := range []string{"ADD", "CHECK", "GC", "STATUS"} {
		n := newNode(t)
		n.put(t, "blue", blue)
		if e := n.dispatched(verb, blue.ContainerID, blue.IfName, refusal(types.ErrDecodingFailure, false)).cniError(t); e.Code != 6 {
			t.Errorf("%s: %+v, want code 6", verb, e)
		}
		if diff := cmp.Diff([]state.Attachment{blue}, n.recorded(t)); diff != "" {
			t.Errorf("recorded after %s (-want +got):\n%s", verb, diff)
		}
	}
}

func TestDelOnlyWarnsWhenTheRecordCannotBeDropped(t *testing.T) {
	n := newNode(t)
	// Not even root can unlink a directory that is not empty.
	if err := os.MkdirAll(filepath.Join(n.file(t, blue), "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	o := n.call(t, "DEL", chained("1.0.0")).ok(t)
	if o.stdout != "" || !strings.Contains(o.stderr, "delete record") || len(o.syslog) != 1 {
		t.Errorf("stdout %q, stderr %q, system log %q, want nothing and a warning in both", o.stdout, o.stderr, o.syslog)
	}
}

// Opening a FIFO blocks until its other end is opened.
func TestAFIFOInsteadOfADirectoryBlocksNoVerb(t *testing.T) {
	for name, path := range map[string]func(*state.Store) string{"the state directory": (*state.Store).Dir, "attachments": (*state.Store).AttachmentsDir} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			fifo := path(n.store)
			if err := errors.Join(os.MkdirAll(filepath.Dir(fifo), 0o700), unix.Mkfifo(fifo, 0o600)); err != nil {
				t.Fatal(err)
			}
			for _, verb := range []string{"ADD", "CHECK", "DEL"} {
				o := n.call(t, verb, chained("1.0.0")).ok(t)
				if !strings.Contains(o.stderr, "not a directory") || len(o.syslog) != 1 {
					t.Errorf("%s: stderr %q, system log %q, want a warning in both", verb, o.stderr, o.syslog)
				}
			}
			valid := chained("1.1.0").with(object{"cni.dev/valid-attachments": []int{}})
			if e := n.call(t, "GC", valid).cniError(t); e.Code != types.ErrIOFailure {
				t.Errorf("GC: %+v, want code 5", e)
			}
			if e := n.call(t, "STATUS", chained("1.1.0").with(object{"failurePolicy": "fail"})).cniError(t); e.Code != types.ErrPluginNotAvailable {
				t.Errorf("STATUS: %+v, want code 50", e)
			}
		})
	}
}

func TestDelOnlyWarnsWhenTheStateDirectoryIsReadOnly(t *testing.T) {
	n := newNode(t)
	n.put(t, "blue", blue)
	inMounts(t, n.readOnly, func() {
		o := n.call(t, "DEL", chained("1.0.0")).ok(t)
		if o.stdout != "" || !strings.Contains(o.stderr, "read-only file system") || len(o.syslog) != 1 {
			t.Errorf("stdout %q, stderr %q, system log %q, want nothing and a warning in both", o.stdout, o.stderr, o.syslog)
		}
	})
}
