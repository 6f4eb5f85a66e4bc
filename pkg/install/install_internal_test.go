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

	"github.com/google/go-cmp/cmp"
)

func TestInstallExtendsTheNetworkThatRuntimesChoose(t *testing.T) {
	for name, tt := range map[string]struct {
		files   map[string]string
		file    string
		network string
		changed map[string]string // against files; empty is gone
		plugins []string
	}{
		"the only one": {
			files: map[string]string{"10-pods.conflist": bridgeList},
			file:  "10-pods.conflist", network: "pods",
			changed: map[string]string{"10-pods.conflist": bridgeAndOurs}, plugins: []string{"bridge", "halfclose"},
		},
		"the first by name, whatever else is there": {
			files: map[string]string{
				"99-other.conflist": otherList, "10-pods.conflist": bridgeList, "05-none.conflist.bak": otherList, "00-calico-kubeconfig": "x", "cni.lock": "",
			},
			file: "10-pods.conflist", network: "pods",
			changed: map[string]string{"10-pods.conflist": bridgeAndOurs}, plugins: []string{"bridge", "halfclose"},
		},
		"one that is as it should be": {
			files: map[string]string{"10-pods.conflist": bridgeAndOurs},
			file:  "10-pods.conflist", network: "pods", changed: nil, plugins: []string{"bridge", "halfclose"},
		},
		"one that is chosen since another was extended, which stays so": {
			files: map[string]string{"10-pods.conflist": bridgeAndOurs, "05-other.conflist": otherList},
			file:  "05-other.conflist", network: "other",
			changed: map[string]string{"05-other.conflist": strings.TrimSuffix(otherList, "]}") +
				`,{"type":"halfclose","mode":"observe","capabilities":{"io.kubernetes.cri.pod-annotations":true}}]}`},
			plugins: []string{"bridge", "tuning", "halfclose"},
		},
		"one of a single plugin, which a list takes the place of": {
			files: map[string]string{"10-single.conf": bridgeConf, "99-other.conflist": otherList},
			file:  "10-single.conflist", network: "single",
			changed: map[string]string{"10-single.conf": "", "10-single.conf.halfclose": bridgeConf, "10-single.conflist": bridgeConfList},
			plugins: []string{"bridge", "halfclose"},
		},
		"one of a single plugin by another name": {
			files: map[string]string{"10-single.json": bridgeConf},
			file:  "10-single.conflist", network: "single",
			changed: map[string]string{"10-single.json": "", "10-single.json.halfclose": bridgeConf, "10-single.conflist": bridgeConfList},
			plugins: []string{"bridge", "halfclose"},
		},
		"one that a list took the place of, and that is written anew": {
			files: map[string]string{
				"10-single.conf": strings.Replace(bridgeConf, "1400", "9000", 1), "10-single.conf.halfclose": bridgeConf,
				"10-single.conflist": strings.Replace(bridgeConfList, ourLine, `{"type": "istio-cni"}, `+ourLine, 1),
			},
			file: "10-single.conflist", network: "single",
			changed: map[string]string{
				"10-single.conf": "", "10-single.conf.halfclose": strings.Replace(bridgeConf, "1400", "9000", 1),
				"10-single.conflist": strings.Replace(strings.Replace(bridgeConfList, "1400", "9000", 1), ourLine, "{\"type\": \"istio-cni\"},\n    "+ourLine, 1),
			},
			plugins: []string{"bridge", "istio-cni", "halfclose"},
		},
		"the same where runtimes choose the list first": {
			files: map[string]string{"10-single.json": strings.Replace(bridgeConf, "1400", "9000", 1), "10-single.conflist": bridgeConfList},
			file:  "10-single.conflist", network: "single",
			changed: map[string]string{
				"10-single.json": "", "10-single.json.halfclose": strings.Replace(bridgeConf, "1400", "9000", 1),
				"10-single.conflist": strings.Replace(bridgeConfList, "1400", "9000", 1),
			},
			plugins: []string{"bridge", "halfclose"},
		},
		"one with a drop-in of ours, which goes": {
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
			r.Warnings, plan.Warnings = nil, nil // of directories above the test's own
			if diff := cmp.Diff(want, r); diff != "" {
				t.Errorf("result (-want +got)\n%s", diff)
			}
			if (plan.Diff != "") != plan.Changed {
				t.Errorf("changed is %t, with this difference:\n%s", plan.Changed, plan.Diff)
			}
			plan.Diff = ""
			if diff := cmp.Diff(want, plan); diff != "" {
				t.Errorf("what a dry run said (-want +got)\n%s", diff)
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
				t.Errorf("the second time: %+v", r)
			}
			n.want(t, after)
		})
	}
}

func TestAPluginThatIsALinkIsThereWhereverItLeads(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	bridge := filepath.Join(n.config.BinDir, "bridge")
	if err := errors.Join(os.Remove(bridge), os.Symlink("/out/of/the/container/bridge", bridge)); err != nil {
		t.Fatal(err)
	}
	n.install(t)
	n.want(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
}

func TestInstallRefusesWhatItWouldBreak(t *testing.T) {
	for name, tt := range map[string]struct {
		files  map[string]string
		change func(*Config)
		says   string
	}{
		"no network": {says: "there is no network configuration yet"},
		"none that can be loaded": {
			files: map[string]string{"10-pods.conflist": halfWritten, "20.conf": `{"name":"x"}`},
			says:  "no network configuration can be loaded: 10-pods.conflist cannot be loaded: error parsing configuration list: unexpected end of JSON input; 20.conf",
		},
		"a version that the plugin does not speak": {
			files: map[string]string{"10-pods.conflist": strings.Replace(bridgeList, "1.0.0", "0.2.0", 1)},
			says:  `10-pods.conflist has cniVersion "0.2.0", and halfclose speaks 0.3.1, 0.4.0, 1.0.0, 1.1.0`,
		},
		"a version that older runtimes would take": {
			files: map[string]string{"10-pods.conflist": strings.Replace(bridgeList, `"1.0.0"`, `"0.2.0", "cniVersions": ["0.2.0", "1.0.0"]`, 1)},
			says:  `10-pods.conflist has cniVersion "0.2.0"`,
		},
		"no version at all": {
			files: map[string]string{"10-pods.conflist": `{"name":"pods","plugins":[{"type":"bridge"}]}`},
			says:  `10-pods.conflist has no cniVersion`,
		},
		"plugins that are elsewhere": {
			files: map[string]string{"10-pods.conflist": strings.Replace(bridgeList, "bridge", "calico", 1)},
			says:  "/bin/calico is not there, the first plugin of 10-pods.conflist: name the directory in which the runtime looks for plugins with --cni-bin-dir",
		},
		"a list that is not ours where one would be": {
			files: map[string]string{"10-single.conf": bridgeConf, "10-single.conflist": otherList},
			says:  "10-single.conf would have to become 10-single.conflist, which is there already and is not halfclose's",
		},
		"a network that would be chosen instead": {
			files: map[string]string{"10-single.conf": bridgeConf, "10-single.conf.conflist": otherList},
			says:  "runtimes would choose 10-single.conf.conflist instead",
		},
		"a key twice": {
			files: map[string]string{"10-pods.conflist": `{"cniVersion":"1.0.0","name":"pods","name":"pods","plugins":[{"type":"bridge"}]}`},
			says:  `10-pods.conflist: its key "name" is given more than once`,
		},
		"a drop-in for a single plugin": {
			files: map[string]string{"10-single.conf": bridgeConf}, change: func(c *Config) { c.DropIn = true },
			says: "10-single.conf holds a single plugin, and no runtime loads drop-ins for that",
		},
		"a drop-in that no runtime would load": {
			files:  map[string]string{"10-pods.conflist": strings.Replace(bridgeList, `"name"`, `"loadOnlyInlinedPlugins": true, "name"`, 1)},
			change: func(c *Config) { c.DropIn = true },
			says:   "10-pods.conflist says loadOnlyInlinedPlugins",
		},
		"no directory of networks": {change: func(c *Config) { c.ConfDir += "/none" }, says: "there is no network configuration yet: there is no directory"},
		"no directory of plugins":  {change: func(c *Config) { c.BinDir += "/none" }, says: "there is no directory"},
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
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want an error with %q", err, tt.says)
				}
			}
			all.want(t, before)
		})
	}
}

func TestABrokenNetworkThatComesFirstIsPassedOverAndWarnedOf(t *testing.T) {
	n := newNode(t, map[string]string{"00-broken.conflist": halfWritten, "10-pods.conflist": bridgeList})
	r := n.install(t)
	r.Warnings = slices.DeleteFunc(r.Warnings, func(w string) bool { return strings.HasPrefix(w, "ADD will not start") })
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "00-broken.conflist cannot be loaded") || !r.Changed {
		t.Errorf("got %+v", r)
	}
	n.want(t, map[string]string{"00-broken.conflist": halfWritten, "10-pods.conflist": bridgeAndOurs})
}

func TestDropInsThatKeepNewerRuntimesFromLoadingTheNetworkAreWarnedOf(t *testing.T) {
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

func TestALinkIsReadAsRuntimesReadItAndNotReplaced(t *testing.T) {
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
			t.Logf("the owner stays the same, of whom there is one: %v", err)
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
