// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestInstallExtendsTheNetworkThatRuntimesChoose(t *testing.T) {
	for name, tt := range map[string]struct {
		files   map[string]string
		file    string
		network string
		changed map[string]string // compared with files; "" is removed
		plugins []string
	}{
		"the only one": {
			files: map[string]string{"10-pods.conflist": bridgeList},
			file:  "10-pods.conflist", network: "pods",
			changed: map[string]string{"10-pods.conflist": bridgeAndOurs}, plugins: []string{"bridge", "halfclose"},
		},
		"the first by name": {
			files: map[string]string{
				"99-other.conflist": otherList, "10-pods.conflist": bridgeList, "05-none.conflist.bak": otherList, "00-calico-kubeconfig": "x", "cni.lock": "",
			},
			file: "10-pods.conflist", network: "pods",
			changed: map[string]string{"10-pods.conflist": bridgeAndOurs}, plugins: []string{"bridge", "halfclose"},
		},
		"one with the entry": {
			files: map[string]string{"10-pods.conflist": bridgeAndOurs},
			file:  "10-pods.conflist", network: "pods", changed: nil, plugins: []string{"bridge", "halfclose"},
		},
		"a new first network, while the old one keeps its entry": {
			files: map[string]string{"10-pods.conflist": bridgeAndOurs, "05-other.conflist": otherList},
			file:  "05-other.conflist", network: "other",
			changed: map[string]string{"05-other.conflist": strings.TrimSuffix(otherList, "]}") +
				`,{"type":"halfclose","mode":"observe","capabilities":{"io.kubernetes.cri.pod-annotations":true}}]}`},
			plugins: []string{"bridge", "tuning", "halfclose"},
		},
		"a single plugin, which a list replaces": {
			files: map[string]string{"10-single.conf": bridgeConf, "99-other.conflist": otherList},
			file:  "10-single.conflist", network: "single",
			changed: map[string]string{"10-single.conf": "", "10-single.conf.halfclose": bridgeConf, "10-single.conflist": bridgeConfList},
			plugins: []string{"bridge", "halfclose"},
		},
		"a single plugin in a .json": {
			files: map[string]string{"10-single.json": bridgeConf},
			file:  "10-single.conflist", network: "single",
			changed: map[string]string{"10-single.json": "", "10-single.json.halfclose": bridgeConf, "10-single.conflist": bridgeConfList},
			plugins: []string{"bridge", "halfclose"},
		},
		"a single plugin that another tool has written again": {
			files: map[string]string{
				"10-single.conf": strings.Replace(bridgeConf, "1400", "9000", 1), "10-single.conf.halfclose": bridgeConf,
				"10-single.conflist": strings.Replace(bridgeConfList, ourEntry, `{"type": "istio-cni"}, `+ourEntry, 1),
			},
			file: "10-single.conflist", network: "single",
			changed: map[string]string{
				"10-single.conf": "", "10-single.conf.halfclose": strings.Replace(bridgeConf, "1400", "9000", 1),
				"10-single.conflist": strings.Replace(strings.Replace(bridgeConfList, "1400", "9000", 1), ourEntry, "{\"type\": \"istio-cni\"},\n    "+ourEntry, 1),
			},
			plugins: []string{"bridge", "istio-cni", "halfclose"},
		},
		"the same if runtimes choose the list": {
			files: map[string]string{"10-single.json": strings.Replace(bridgeConf, "1400", "9000", 1), "10-single.conflist": bridgeConfList},
			file:  "10-single.conflist", network: "single",
			changed: map[string]string{
				"10-single.json": "", "10-single.json.halfclose": strings.Replace(bridgeConf, "1400", "9000", 1),
				"10-single.conflist": strings.Replace(bridgeConfList, "1400", "9000", 1),
			},
			plugins: []string{"bridge", "halfclose"},
		},
		"one with a drop-in of ours, which is removed": {
			files: map[string]string{"10-pods.conflist": bridgeList, "pods/halfclose.conf": oursDropIn, "pods/tuning.conf": `{"type":"tuning"}`},
			file:  "10-pods.conflist", network: "pods",
			changed: map[string]string{"10-pods.conflist": bridgeAndOurs, "pods/halfclose.conf": ""}, plugins: []string{"bridge", "halfclose", "tuning"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, tt.files)
			dry := n.config
			dry.DryRun = true
			before := n.files(t)
			plan, err := Install(t.Context(), dry)
			if err != nil {
				t.Fatal(err)
			}
			n.want(t, before)
			r := n.install(t)
			want := Result{
				Network: tt.network, File: n.path(tt.file), Changed: len(tt.changed) > 0,
				Programs: Programs{
					Plugin: Program{Path: filepath.Join(n.config.BinDir, "halfclose"), Changed: true},
					Reaper: &Program{Path: filepath.Join(n.config.BinDir, "halfclose-reaper"), Link: n.config.Command, Changed: true},
				},
			}
			r.Warnings, plan.Warnings = nil, nil // about directories above the temporary one
			want.Diff, want.Dropped = plan.Diff, r.Dropped
			if diff := cmp.Diff(want, r); diff != "" {
				t.Errorf("result (-want +got)\n%s", diff)
			}
			if (plan.Diff != "") != plan.Changed {
				t.Errorf("changed is %t, with this diff:\n%s", plan.Changed, plan.Diff)
			}
			if diff := cmp.Diff(want, plan); diff != "" {
				t.Errorf("dry run (-want +got)\n%s", diff)
			}
			after := maps.Clone(before)
			for file, data := range tt.changed {
				if after[file] = data; data == "" {
					delete(after, file)
				}
			}
			n.want(t, after)
			network, plugins := n.chosen(t)
			named := n.named(t, tt.network)
			if network != tt.network || !cmp.Equal(tt.plugins, plugins) || !cmp.Equal(tt.plugins, named) {
				t.Errorf("containerd loads %s with %v, libcni %v; want %s with %v", network, plugins, named, tt.network, tt.plugins)
			}
			if r := n.install(t); r.Changed || r.Plugin.Changed {
				t.Errorf("the second run: %+v", r)
			}
			n.want(t, after)
		})
	}
}

func TestADanglingLinkCountsAsThePlugin(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	bridge := filepath.Join(n.config.BinDir, "bridge")
	if err := errors.Join(os.Remove(bridge), os.Symlink("/out/of/the/container/bridge", bridge)); err != nil {
		t.Fatal(err)
	}
	n.install(t)
	n.want(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
}

func TestInstallRefusesToBreakANetwork(t *testing.T) {
	for name, tt := range map[string]struct {
		files   map[string]string
		change  func(*Config)
		wantErr string
	}{
		"no network": {wantErr: "there is no network configuration yet"},
		"none that can be loaded": {
			files:   map[string]string{"10-pods.conflist": halfWritten, "20.conf": `{"name":"x"}`},
			wantErr: "no network configuration can be loaded: 10-pods.conflist cannot be loaded: error parsing configuration list: unexpected end of JSON input; 20.conf",
		},
		"a version that the plugin does not speak": {
			files:   map[string]string{"10-pods.conflist": strings.Replace(bridgeList, "1.0.0", "0.2.0", 1)},
			wantErr: `10-pods.conflist has cniVersion "0.2.0", and halfclose supports 0.3.1, 0.4.0, 1.0.0, 1.1.0`,
		},
		"a version that older runtimes use": {
			files:   map[string]string{"10-pods.conflist": strings.Replace(bridgeList, `"1.0.0"`, `"0.2.0", "cniVersions": ["0.2.0", "1.0.0"]`, 1)},
			wantErr: `10-pods.conflist has cniVersion "0.2.0"`,
		},
		"no version at all": {
			files:   map[string]string{"10-pods.conflist": `{"name":"pods","plugins":[{"type":"bridge"}]}`},
			wantErr: `10-pods.conflist has no cniVersion`,
		},
		"plugins in another directory": {
			files:   map[string]string{"10-pods.conflist": strings.Replace(bridgeList, "bridge", "calico", 1)},
			wantErr: "/bin/calico, the first plugin of 10-pods.conflist, does not exist: name the runtime's plugin directory with --cni-bin-dir",
		},
		"a foreign list with the name of the new one": {
			files:   map[string]string{"10-single.conf": bridgeConf, "10-single.conflist": otherList},
			wantErr: "install would replace 10-single.conf by 10-single.conflist, but that exists and is not halfclose's",
		},
		"another network that runtimes would then choose": {
			files:   map[string]string{"10-single.conf": bridgeConf, "10-single.conf.conflist": otherList},
			wantErr: "runtimes would then choose 10-single.conf.conflist",
		},
		"a key twice": {
			files:   map[string]string{"10-pods.conflist": `{"cniVersion":"1.0.0","name":"pods","name":"pods","plugins":[{"type":"bridge"}]}`},
			wantErr: `10-pods.conflist: its key "name" occurs more than once`,
		},
		"a drop-in for a single plugin": {
			files: map[string]string{"10-single.conf": bridgeConf}, change: func(c *Config) { c.DropIn = true },
			wantErr: "10-single.conf holds a single plugin, for which no runtime loads drop-ins",
		},
		"a drop-in that no runtime would load": {
			files:   map[string]string{"10-pods.conflist": strings.Replace(bridgeList, `"name"`, `"loadOnlyInlinedPlugins": true, "name"`, 1)},
			change:  func(c *Config) { c.DropIn = true },
			wantErr: "10-pods.conflist sets loadOnlyInlinedPlugins",
		},
		"no directory of networks": {change: func(c *Config) { c.ConfDir += "/none" }, wantErr: "there is no network configuration yet: there is no directory"},
		"no directory of plugins":  {change: func(c *Config) { c.BinDir += "/none" }, wantErr: "there is no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, tt.files)
			before := n.files(t)
			all := n
			if tt.change != nil {
				tt.change(&n.config)
			}
			for _, dry := range []bool{true, false} {
				n.config.DryRun = dry
				_, err := Install(t.Context(), n.config)
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("got %v, want an error with %q", err, tt.wantErr)
				}
			}
			all.want(t, before)
		})
	}
}

func TestABrokenFirstNetworkIsSkippedWithAWarning(t *testing.T) {
	n := newNode(t, map[string]string{"00-broken.conflist": halfWritten, "10-pods.conflist": bridgeList})
	r := n.install(t)
	r.Warnings = slices.DeleteFunc(r.Warnings, func(w string) bool { return strings.HasPrefix(w, "ADD will not start") })
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "00-broken.conflist cannot be loaded") || !r.Changed {
		t.Errorf("got %+v", r)
	}
	n.want(t, map[string]string{"00-broken.conflist": halfWritten, "10-pods.conflist": bridgeAndOurs})
}

func TestInstallWarnsOfDropInsThatNewerRuntimesCannotLoad(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList, "20-other.conflist": otherList})
	write(t, filepath.Join(n.config.ConfDir, "pods/50-broken.conf"), halfWritten)
	r := n.install(t)
	if !slices.ContainsFunc(r.Warnings, func(w string) bool {
		return strings.Contains(w, "cannot load 10-pods.conflist because of its drop-ins: pods/50-broken.conf: ")
	}) || !r.Changed {
		t.Errorf("got %+v", r)
	}
	n.want(t, map[string]string{"10-pods.conflist": bridgeAndOurs, "20-other.conflist": otherList, "pods": "a directory", "pods/50-broken.conf": halfWritten})
	if r := n.uninstall(t); len(r.Files) != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestASymbolicLinkIsReadAndNotReplaced(t *testing.T) {
	n := newNode(t, nil)
	elsewhere := filepath.Join(t.TempDir(), "managed.conflist")
	manage := func(data string) {
		t.Helper()
		write(t, elsewhere, data)
		old(t, elsewhere)
	}
	manage(bridgeList)
	if err := os.Symlink(elsewhere, n.path("10-pods.conflist")); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(t.Context(), n.config); err == nil || !strings.Contains(err.Error(), "10-pods.conflist is a symbolic link") {
		t.Errorf("got %v", err)
	}
	n.want(t, map[string]string{"10-pods.conflist": bridgeList})
	manage(bridgeAndOurs)
	if r := n.install(t); r.Changed {
		t.Errorf("got %+v", r)
	}
	manage(bridgeList)
	n.config.DropIn = true
	n.install(t)
	if _, plugins := n.chosen(t); !cmp.Equal([]string{"bridge", "halfclose"}, plugins) {
		t.Errorf("with a drop-in containerd loads %v", plugins)
	}
}

func TestModeAndOwnerStay(t *testing.T) {
	for file, data := range map[string]string{"10-pods.conflist": bridgeList, "10-pods.conf": bridgeConf} {
		n := newNode(t, map[string]string{file: data})
		if err := os.Chmod(n.path(file), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(n.path(file), 1234, 5678); err != nil {
			t.Logf("the owner cannot be changed: %v", err)
		}
		before := stat(t, n.path(file))
		n.install(t)
		after := stat(t, n.path("10-pods.conflist"))
		if after.Mode != before.Mode || after.Uid != before.Uid || after.Gid != before.Gid || after.Ino == before.Ino {
			t.Errorf("%s: mode %o of %d:%d, inode %d; was %o of %d:%d, inode %d", file,
				after.Mode, after.Uid, after.Gid, after.Ino, before.Mode, before.Uid, before.Gid, before.Ino)
		}
	}
}

func TestInstallWaitsForANetwork(t *testing.T) {
	n := newNode(t, nil)
	n.config.Wait = time.Minute
	waits := make(chan error, 100)
	n.config.OnWait = func(reason error) { waits <- reason }
	if err := os.Remove(n.config.ConfDir); err != nil {
		t.Fatal(err)
	}
	done := n.begin(t)
	if reason := <-waits; !errors.Is(reason, ErrNoNetwork) {
		t.Errorf("it waits because of %v", reason)
	}
	write(t, n.path("10-pods.conflist"), bridgeList)
	if r := <-done; !r.Changed || r.Network != "pods" {
		t.Errorf("got %+v", r)
	}
	n.want(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
	if len(waits) > 0 {
		t.Error("it reports again that it waits")
	}
}

func TestInstallWaitsForAnotherProcessToFinishWriting(t *testing.T) {
	for name, file := range map[string]string{"the only network": "10-pods.conflist", "a new first network": "05-pods.conflist"} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, map[string]string{"10-pods.conflist": otherList})
			write(t, n.path(file), halfWritten)
			before := n.files(t)
			done := n.begin(t)
			if sleep(t.Context(), 300*time.Millisecond); len(done) > 0 {
				t.Errorf("it did not wait: %+v", <-done)
			}
			n.want(t, before)
			write(t, n.path(file), bridgeList)
			if r := <-done; r.File != n.path(file) || !r.Changed {
				t.Errorf("got %+v", r)
			}
			before[file] = bridgeAndOurs
			n.want(t, before)
		})
	}
}

func TestInstallReportsTheKeysThatTheNewEntryDrops(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"no entry":                 {map[string]string{"10-pods.conflist": bridgeList}, nil},
		"the same entry":           {map[string]string{"10-pods.conflist": bridgeAndOurs}, nil},
		"an entry with other keys": {map[string]string{"10-pods.conflist": strings.Replace(bridgeAndOurs, `"type":"halfclose"`, `"type":"halfclose","grace":"5m","exempt":[]`, 1)}, []string{"exempt", "grace"}},
		"a drop-in with other keys": {
			map[string]string{"10-pods.conflist": bridgeList, "pods/halfclose.conf": `{"type":"halfclose","grace":"5m"}`}, []string{"grace"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, tt.files)
			if got := n.install(t).Dropped; !cmp.Equal(tt.want, got) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
