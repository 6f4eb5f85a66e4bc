// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestAddRecordsTheAttachment(t *testing.T) {
	each(t, allVersions, func(t *testing.T, version string) {
		n := newNode(t)
		conf := chained(version).with(object{"grace": "90s", "mode": "observe", "podOverrides": "relax"})
		n.call(t, "ADD", conf.with(annotated(object{"halfclose.cni/probe-after": "2m", "example.org/team": "blue"}))).ok(t).calm(t)
		want := state.Record{
			Version: state.Version, Network: "blue", Attachment: blue, Boot: bootID(t),
			Netns: state.Netns{Path: n.netns, Identity: identityOf(t, n.netns)},
			Pod:   state.Pod{Namespace: "shop", Name: "web", UID: "u-1"},
			Layers: policy.Layers{
				Network: policy.Layer{Source: policy.SourceNetwork, Values: policy.Values{
					Mode: new(policy.Observe), Grace: new(policy.Patience(90 * time.Second)),
				}},
				Annotations: map[string]string{"halfclose.cni/probe-after": "2m"}, PodOverrides: policy.OverridesRelax,
			},
			Plugin: testBuild,
			Time:   testTime,
		}
		if diff := compare(want, n.record(t, blue)); diff != "" {
			t.Errorf("record (-want +got):\n%s", diff)
		}
		if got := want.Netns.Cookie != 0; got != nstest.HasNetnsCookies(t) {
			t.Errorf("a cookie is recorded: %t", got)
		}
	})
}

func TestAddPrintsPrevResultUnchanged(t *testing.T) {
	each(t, allVersions, func(t *testing.T, version string) {
		for name, conf := range map[string]object{
			"which names its version": chained(version),
			"which does not":          chained(version).with(object{"prevResult": prevResult(version).with(object{"cniVersion": nil})}),
			"beside a mistake":        chained(version).with(object{"graec": "1m"}),
		} {
			t.Run(name, func(t *testing.T) {
				o := newNode(t).call(t, "ADD", conf).ok(t)
				var want, got any
				if err := errors.Join(json.Unmarshal(prevResult(version).bytes(t), &want), json.Unmarshal([]byte(o.stdout), &got)); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
			})
		}
	})
}

func TestAddNeedsAPrevResultWhateverTheFailurePolicy(t *testing.T) {
	const (
		chainedPlugin = "halfclose is a chained plugin"
		unreadable    = "read prevResult"
	)
	for name, bad := range map[string]struct {
		prevResult any
		code       uint
		text       string
	}{
		"absent":             {nil, types.ErrInvalidNetworkConfig, chainedPlugin},
		"null":               {null, types.ErrInvalidNetworkConfig, chainedPlugin},
		"no object":          {5, types.ErrDecodingFailure, unreadable},
		"not of the version": {prevResult("0.4.0"), types.ErrDecodingFailure, unreadable},
		"of no version":      {object{"cniVersion": "9.9.9"}, types.ErrDecodingFailure, unreadable},
		"not a result":       {object{"cniVersion": "1.0.0", "ips": "10.0.0.1"}, types.ErrDecodingFailure, unreadable},
	} {
		for _, failure := range []string{"ignore", "fail"} {
			t.Run(name+", "+failure, func(t *testing.T) {
				n := newNode(t)
				e := n.call(t, "ADD", chained("1.0.0").with(object{"prevResult": bad.prevResult, "failurePolicy": failure})).cniError(t)
				if e.Code != bad.code || e.Msg != bad.text || e.Details == "" {
					t.Errorf("error %+v, want code %d with %q and the reason", e, bad.code, bad.text)
				}
				if got := n.recorded(t); got != nil {
					t.Errorf("recorded %v, want nothing", got)
				}
			})
		}
	}
}

func TestAddTwiceLeavesOneRecordAndTheLaterPolicy(t *testing.T) {
	each(t, allVersions, func(t *testing.T, version string) {
		n := newNode(t)
		first := n.call(t, "ADD", chained(version)).ok(t)
		before := n.record(t, blue)
		second := n.call(t, "ADD", chained(version)).ok(t)
		if diff := cmp.Diff(first, second, cmp.AllowUnexported(outcome{})); diff != "" {
			t.Errorf("the second ADD is not as the first (-first +second):\n%s", diff)
		}
		if diff := compare(before, n.record(t, blue)); diff != "" {
			t.Errorf("the second record is not as the first (-first +second):\n%s", diff)
		}
		n.call(t, "ADD", chained(version).with(object{"mode": "off"})).ok(t)
		if got := joined(n.record(t, blue)).Mode; got != policy.Off {
			t.Errorf("mode %v after an ADD that says off", got)
		}
		if diff := cmp.Diff([]state.Attachment{blue}, n.recorded(t)); diff != "" {
			t.Errorf("recorded (-want +got):\n%s", diff)
		}
	})
}

func TestAddKeepsTheAttachmentsOfOneContainerApart(t *testing.T) {
	n := newNode(t)
	n.call(t, "ADD", chained("1.0.0")).ok(t)
	n.callWith(t, "ADD", &skel.CmdArgs{
		ContainerID: "c1", IfName: "net1", Netns: n.netns, StdinData: chained("1.0.0").with(object{"name": "red"}).bytes(t),
	}).ok(t)
	net1 := state.Attachment{ContainerID: "c1", IfName: "net1"}
	if diff := cmp.Diff([]state.Attachment{blue, net1}, n.recorded(t)); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	if got := n.record(t, net1); got.Network != "red" || got.Pod != (state.Pod{}) {
		t.Errorf("net1: network %q, pod %+v, want red and none", got.Network, got.Pod)
	}
}

// mistakes has a mistake in every key.
var mistakes = object{
	"mode": "destroyed", "grace": 600, "closeWaitGrace": "2 minutes", "finWait2Grace": "-1s", "clock": "wall",
	"pendingData": "keep", "probeAfter": "soon", "probeCount": 0, "probeInterval": "1.5s", "pendingGrace": "1d",
	"rules": []object{{"match": object{"rolle": "client"}, "grace": "1m"}}, "exempt": []object{{"localPorts": "99999"}, {"peers": "10.0.0.0/99"}, {}},
	"podOverrides": "some", "reaper": "manual", "graec": "1m",
}

func mistakePaths() []string {
	return []string{
		"$.mode", "$.grace", "$.closeWaitGrace", "$.finWait2Grace", "$.clock", "$.pendingData", "$.probeAfter", "$.probeCount",
		"$.probeInterval", "$.pendingGrace", "$.rules[0].match.rolle", "$.exempt[0].localPorts",
		"$.exempt[1].peers", "$.exempt[2]", "$.podOverrides", "$.reaper", "$.graec",
	}
}

func TestAddNamesEveryMistakeAtOnceUnderFail(t *testing.T) {
	each(t, allVersions, func(t *testing.T, version string) {
		n := newNode(t)
		e := n.call(t, "ADD", chained(version).with(mistakes).with(object{"failurePolicy": "fail"})).cniError(t)
		if e.Code != types.ErrInvalidNetworkConfig {
			t.Errorf("code %d, want 7", e.Code)
		}
		for _, path := range mistakePaths() {
			if !strings.Contains(e.Details, path+":") {
				t.Errorf("nothing about %s in %q", path, e.Details)
			}
		}
		if got := n.recorded(t); got != nil || n.starts != 0 {
			t.Errorf("recorded %v and started %d reapers, want neither", got, n.starts)
		}
	})
}

func TestAddObservesThePodOfAWrongConflistUnderIgnore(t *testing.T) {
	each(t, allVersions, func(t *testing.T, version string) {
		n := newNode(t)
		conf := chained(version).with(mistakes).with(annotated(object{"halfclose.cni/mode": "destroy"}))
		o := n.call(t, "ADD", conf).ok(t)
		r := n.record(t, blue)
		if joined(r).Mode != policy.Observe {
			t.Errorf("mode %v, want observe", joined(r).Mode)
		}
		if got := r.Layers.Resolve(0).Sources["mode"]; got != policy.SourceWrongConf {
			t.Errorf("source of the mode %q, want %q", got, policy.SourceWrongConf)
		}
		for what, text := range map[string]string{
			"the record's warnings": strings.Join(r.Warnings, "\n"), "stderr": o.stderr, "the system log": strings.Join(o.syslog, ""),
		} {
			for _, path := range mistakePaths() {
				if !strings.Contains(text, path+":") {
					t.Errorf("nothing about %s in %s: %q", path, what, text)
				}
			}
		}
		if len(o.syslog) != 1 {
			t.Errorf("%d entries in the system log, want one", len(o.syslog))
		}
	})
}

func TestAddKeepsModeOffOfAWrongConflist(t *testing.T) {
	n := newNode(t)
	n.call(t, "ADD", chained("1.0.0").with(object{"mode": "off", "graec": "1m"})).ok(t)
	if p := joined(n.record(t, blue)); p.Mode != policy.Off || p.Sources["mode"] != policy.SourceNetwork {
		t.Errorf("mode %v from %q, want off from the network", p.Mode, p.Sources["mode"])
	}
}

func TestAddNeverRecordsItsOwnNetns(t *testing.T) {
	n := newNode(t)
	n.netns = "/proc/thread-self/ns/net"
	e := n.call(t, "ADD", chained("1.0.0").with(object{"failurePolicy": "fail"})).cniError(t)
	if e.Code != types.ErrInvalidNetNS || !strings.Contains(e.Details, "of the plugin itself") {
		t.Errorf("under fail: %+v, want code 8 with the reason", e)
	}
	o := n.call(t, "ADD", chained("1.0.0")).ok(t)
	if o.stdout == "" || !strings.Contains(o.stderr, "of the plugin itself") {
		t.Errorf("under ignore: stdout %q, stderr %q, want the result and a warning", o.stdout, o.stderr)
	}
	if got := n.recorded(t); got != nil {
		t.Errorf("recorded %v, want nothing", got)
	}
}

func TestAddDoesWhatTheFailurePolicySaysWhenItCannotRegister(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, n *node)
		code  uint
	}{
		{"no namespace at the path", func(t *testing.T, n *node) { n.netns = filepath.Join(t.TempDir(), "gone") }, types.ErrInvalidNetNS},
		{"a file at the path", func(t *testing.T, n *node) {
			n.netns = filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(n.netns, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, types.ErrInvalidNetNS},
		{"an unusable state directory", func(t *testing.T, n *node) { n.unusable(t) }, types.ErrIOFailure},
		{"a state directory that all users can write to", func(t *testing.T, n *node) {
			if err := errors.Join(os.Mkdir(n.store.Dir(), 0o777), os.Chmod(n.store.Dir(), 0o777)); err != nil {
				t.Fatal(err)
			}
		}, types.ErrIOFailure},
		{"a state directory of another user", func(t *testing.T, n *node) {
			if err := errors.Join(os.Mkdir(n.store.Dir(), 0o700), os.Chown(n.store.Dir(), 65534, -1)); err != nil {
				nstest.NeedPrivilege(t, "give a directory to another user", err)
			}
		}, types.ErrIOFailure},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			tt.spoil(t, n)
			if e := n.call(t, "ADD", chained("1.0.0").with(object{"failurePolicy": "fail"})).cniError(t); e.Code != tt.code {
				t.Errorf("under fail: %+v, want code %d", e, tt.code)
			}
			o := n.call(t, "ADD", chained("1.0.0")).ok(t)
			if !strings.Contains(o.stdout, "10.1.0.5/24") || o.stderr == "" || len(o.syslog) != 1 {
				t.Errorf("under ignore: stdout %q, stderr %q, system log %q, want the result and what went wrong", o.stdout, o.stderr, o.syslog)
			}
			if n.starts != 0 {
				t.Errorf("started %d reapers for nothing", n.starts)
			}
		})
	}
}

func TestAddStartsTheReaperOnlyUnderAuto(t *testing.T) {
	for reaper, want := range map[string]int{"auto": 1, "external": 0} {
		n := newNode(t)
		n.call(t, "ADD", chained("1.0.0").with(object{"reaper": reaper})).ok(t)
		if n.starts != want {
			t.Errorf("reaper %s: started %d, want %d", reaper, n.starts, want)
		}
	}
}

func TestAddOnlyWarnsWhenTheReaperCannotBeStarted(t *testing.T) {
	for _, failure := range []string{"ignore", "fail"} {
		t.Run(failure, func(t *testing.T) {
			n := newNode(t)
			n.fail = errors.New("fork: out of processes")
			o := n.call(t, "ADD", chained("1.0.0").with(object{"failurePolicy": failure})).ok(t)
			r := n.record(t, blue)
			if r.Warnings != nil { // it was written before the start
				t.Errorf("the record's warnings are %q, want none", r.Warnings)
			}
			if joined(r).Mode != policy.Destroy {
				t.Errorf("mode %v, want destroy as configured", joined(r).Mode)
			}
			if !strings.Contains(o.stdout, "10.1.0.5/24") || !strings.Contains(o.stderr, "out of processes") {
				t.Errorf("stdout %q, stderr %q, want the result and a warning", o.stdout, o.stderr)
			}
			n.fail = nil
			n.call(t, "ADD", chained("1.0.0")).ok(t).calm(t)
			if got := n.record(t, blue).Warnings; got != nil {
				t.Errorf("warnings %q after an ADD that went well", got)
			}
		})
	}
}

func TestAddWarnsIfNoReaperRunsAndNoneCanBeStarted(t *testing.T) {
	refused := fmt.Errorf("/opt/cni/bin/halfclose-reaper: %w", launch.ErrWritable)
	for _, tt := range []struct {
		name     string
		running  []bool // before and after the record is written
		refuse   error
		fail     error
		warns    string
		recorded bool // the warning is in the record
		starts   int
	}{
		{name: "none runs", refuse: refused, warns: "halfclose-reaper: writable", recorded: true},
		{name: "one runs", running: []bool{true}, refuse: refused},
		{name: "another process starts one", running: []bool{false, true}, refuse: refused, warns: "halfclose-reaper: writable", recorded: true},
		{name: "one exits while the record is written", running: []bool{true, false}, refuse: refused, warns: "halfclose-reaper: writable"},
		{name: "one may be started", starts: 1},
		{name: "one may be started after another exits while the record is written", running: []bool{true, false}, starts: 1},
		{name: "one may be started but another process does", running: []bool{false, true}},
		{name: "the start fails", fail: unix.ENOEXEC, starts: 1, warns: "exec format error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.running, n.refuse, n.fail = tt.running, tt.refuse, tt.fail
			o := n.call(t, "ADD", chained("1.0.0").with(object{"failurePolicy": "fail"})).ok(t)
			warnings := n.record(t, blue).Warnings
			if !strings.Contains(o.stdout, "10.1.0.5/24") || n.starts != tt.starts {
				t.Errorf("stdout %q, started %d reapers, want the result and %d", o.stdout, n.starts, tt.starts)
			}
			if n.opened != n.closed {
				t.Errorf("of %d programs %d were closed", n.opened, n.closed)
			}
			if tt.warns == "" {
				o.calm(t)
				if warnings != nil {
					t.Errorf("warnings %q, want none", warnings)
				}
				return
			}
			if strings.Count(o.stderr, "\n") != 1 || !strings.Contains(o.stderr, tt.warns) {
				t.Errorf("stderr %q, want one line with %q", o.stderr, tt.warns)
			}
			if recorded := len(warnings) == 1 && strings.Contains(warnings[0], tt.warns); recorded != tt.recorded || len(warnings) > 1 {
				t.Errorf("the record's warnings are %q, want the one in it: %v", warnings, tt.recorded)
			}
		})
	}
}

// A record that is written twice changes twice for the reaper, and a kill between the two loses the warning.
func TestARecordIsWrittenOnce(t *testing.T) {
	for name, spoil := range map[string]func(n *node){
		"where a reaper starts":             func(*node) {},
		"where no program may be started":   func(n *node) { n.refuse = launch.ErrMissing },
		"where the start fails":             func(n *node) { n.fail = unix.ENOEXEC },
		"where a reaper exits at that time": func(n *node) { n.running, n.refuse = []bool{true, false, true, false}, launch.ErrMissing },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			spoil(n)
			testWrittenOnce(t, n)
		})
	}
}

func testWrittenOnce(t *testing.T, n *node) {
	t.Helper()
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close()
	n.call(t, "ADD", chained("1.0.0")).ok(t) // makes the directory
	if err := watcher.Add(n.store.AttachmentsDir()); err != nil {
		t.Fatal(err)
	}
	n.call(t, "ADD", chained("1.0.0")).ok(t)
	name := filepath.Base(n.file(t, blue))
	marker := filepath.Join(n.store.AttachmentsDir(), "end")
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	written := 0
	for event := range watcher.Events {
		if event.Name == marker {
			break
		}
		if filepath.Base(event.Name) == name && event.Has(fsnotify.Create) { // a rename to it
			written++
		}
	}
	if written != 1 {
		t.Errorf("the record was written %d times", written)
	}
}
