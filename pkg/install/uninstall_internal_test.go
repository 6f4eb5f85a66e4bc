// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/cniconf/spec"
)

func TestUninstallRemovesTheEntryFromEveryNetwork(t *testing.T) {
	renewed := strings.Replace(bridgeConfList, "1400", "9000", 1)
	for name, tt := range map[string]struct {
		files   map[string]string
		changed map[string]string // compared with files; "" is removed
		removed []string
		warning string
	}{
		"none at all":    {files: map[string]string{"10-pods.conflist": bridgeList, "20.conf": bridgeConf, "30.conflist": halfWritten}},
		"one of several": {files: map[string]string{"10-pods.conflist": otherList, "20-b.conflist": bridgeAndOurs}, changed: map[string]string{"20-b.conflist": bridgeList}, removed: []string{"20-b.conflist pods"}},
		"in drop-ins": {
			files:   map[string]string{"10-pods.conflist": bridgeAndOurs, "x/halfclose.conf": oursDropIn, "y/a.conf": oursDropIn, "y/b.conf": bridgeConf},
			changed: map[string]string{"10-pods.conflist": bridgeList, "x/halfclose.conf": "", "x": "", "y/a.conf": ""},
			removed: []string{"10-pods.conflist pods", "x/halfclose.conf x", "y/a.conf y"},
		},
		"a list that replaced a file": {
			files:   map[string]string{"10-a.conflist": bridgeConfList, "10-a.conf.halfclose": bridgeConf},
			changed: map[string]string{"10-a.conflist": "", "10-a.conf.halfclose": "", "10-a.conf": bridgeConf},
			removed: []string{"10-a.conflist single"},
		},
		"a list that replaced a file and has changed": {
			files:   map[string]string{"10-a.conflist": renewed, "10-a.conf.halfclose": bridgeConf},
			changed: map[string]string{"10-a.conflist": strings.Replace(renewed, ",\n    "+ourEntry, "", 1)},
			removed: []string{"10-a.conflist single"},
			warning: "10-a.conf.halfclose stays",
		},
		"a list that replaced a file and has another plugin": {
			files: map[string]string{
				"10-a.conflist":       strings.Replace(bridgeConfList, ourEntry, "{\"type\": \"istio-cni\"},\n    "+ourEntry, 1),
				"10-a.json.halfclose": bridgeConf,
			},
			changed: map[string]string{"10-a.conflist": strings.Replace(bridgeConfList, ourEntry, `{"type": "istio-cni"}`, 1)},
			removed: []string{"10-a.conflist single"},
			warning: "10-a.json.halfclose stays",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, tt.files)
			before := n.files(t)
			dry := n.config
			dry.DryRun = true
			plan, err := Uninstall(t.Context(), dry, RemovePrograms)
			if err != nil {
				t.Fatal(err)
			}
			n.want(t, before)
			r := n.uninstall(t)
			var removed []string
			for _, f := range r.Files {
				name, err := filepath.Rel(n.config.ConfDir, f.File)
				if err != nil {
					t.Fatal(err)
				}
				removed = append(removed, name+" "+f.Network)
			}
			if diff := cmp.Diff(tt.removed, removed); diff != "" {
				t.Errorf("removed (-want +got)\n%s", diff)
			}
			if !cmp.Equal(r.Files, plan.Files) || (plan.Diff == "") != (len(tt.changed) == 0) {
				t.Errorf("a dry run returned %+v, and the run %+v", plan, r)
			}
			if warned := strings.Join(r.Warnings, "\n"); !strings.Contains(warned, tt.warning) || (warned == "") != (tt.warning == "") {
				t.Errorf("warnings %q, want %q", warned, tt.warning)
			}
			after := maps.Clone(before)
			for file, data := range tt.changed {
				if after[file] = data; data == "" {
					delete(after, file)
				}
			}
			n.want(t, after)
			if r := n.uninstall(t); len(r.Files) > 0 || r.Plugin.Changed {
				t.Errorf("the second run: %+v", r)
			}
			n.want(t, after)
		})
	}
}

func TestUninstallUndoesInstall(t *testing.T) {
	for _, files := range []map[string]string{
		{"10-pods.conflist": bridgeList}, {"10-other.conflist": otherList}, {"10-a.conf": bridgeConf}, {"10-a.json": bridgeConf},
	} {
		n := newNode(t, files)
		n.install(t)
		n.uninstall(t)
		n.want(t, files)
		if !n.isInstalled(t) {
			t.Error("the plugin is gone, which runtimes still call for existing pods")
		}
	}
}

func TestUninstallContinuesPastAFileThatItCannotChange(t *testing.T) {
	alone := `{"cniVersion":"1.0.0","name":"alone","plugins":[{"type":"halfclose"}]}`
	broken := `{"cniVersion":"1.0.0","name":"b","plugins":[{"type":"halfclose"}`
	n := newNode(t, map[string]string{"10-alone.conflist": alone, "20-pods.conflist": bridgeAndOurs, "30-broken.conflist": broken})
	elsewhere := filepath.Join(t.TempDir(), "x")
	write(t, elsewhere, bridgeAndOurs)
	if err := os.Symlink(elsewhere, n.path("40-link.conflist")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(n.config.BinDir, spec.PluginType), "")
	_, err := Uninstall(t.Context(), n.config, RemovePrograms)
	for _, want := range []string{
		"10-alone.conflist: it lists no plugin except halfclose", "30-broken.conflist cannot be loaded", "40-link.conflist is a symbolic link",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	n.want(t, map[string]string{
		"10-alone.conflist": alone, "20-pods.conflist": bridgeList, "30-broken.conflist": broken, "40-link.conflist": bridgeAndOurs,
	})
	if _, err := os.Stat(filepath.Join(n.config.BinDir, spec.PluginType)); err != nil {
		t.Errorf("the plugin, which is still listed: %v", err)
	}
}

func TestUninstallReportsAFileThatItCannotRead(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
	all := filepath.Dir(filepath.Dir(n.config.ConfDir)) // which only root can enter
	if err := errors.Join(os.Chmod(all, 0o755), os.Chmod(n.path("10-pods.conflist"), 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", n.path("20-dangling.conflist")); err != nil {
		t.Fatal(err)
	}
	var err error
	asUser(t, func() { _, err = Uninstall(t.Context(), n.config, KeepPrograms) })
	if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "10-pods.conflist may list halfclose, and cannot be read") {
		t.Errorf("got %v", err)
	}
	if err != nil && strings.Contains(err.Error(), "dangling") {
		t.Errorf("it reports the dangling link too: %v", err)
	}
}

// asUser runs f as an unprivileged user, which requires root.
func asUser(t *testing.T, f func()) {
	t.Helper()
	const unprivileged = 65534
	ran := make(chan bool)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread exits with the goroutine
		_, _ = unix.SetfsuidRetUid(unprivileged)
		now, _ := unix.SetfsuidRetUid(-1)
		if now == unprivileged {
			f()
		}
		ran <- now == unprivileged
	}()
	if !<-ran {
		nstest.NeedPrivilege(t, "become an unprivileged user", unix.EPERM)
	}
}

func TestTheProgramsAreRemovedLastAndOnRequest(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	n.install(t)
	if r := n.uninstall(t); r.changed() || !n.isInstalled(t) || n.link(t) != n.config.Command {
		t.Errorf("without a request: %+v", r)
	}
	for _, want := range []bool{true, false} {
		r, err := Uninstall(t.Context(), n.config, RemovePrograms)
		if err != nil || r.Plugin.Changed != want || r.Reaper.Changed != want || n.isInstalled(t) || n.link(t) != "" {
			t.Errorf("got %+v, %v", r, err)
		}
	}
	if r, err := Uninstall(t.Context(), Config{BinDir: "/none", ConfDir: "/none"}, RemovePrograms); err != nil || len(r.Files) > 0 || r.Plugin.Changed {
		t.Errorf("without directories: %+v, %v", r, err)
	}
}

func TestACachedConfigurationKeepsThePrograms(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	n.install(t)
	cache := filepath.Join(n.dir(), "results")
	n.config.CacheDirs = []string{filepath.Join(n.dir(), "none"), cache}
	put := func(file, id, config string) {
		t.Helper()
		data, err := json.Marshal(map[string]any{"kind": "cniCacheV1", "containerId": id, "config": []byte(config)})
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(cache, file), string(data))
	}
	put("other-a-eth0", "a", otherList)
	put("pods-b-eth0", "b", bridgeAndOurs)
	write(t, filepath.Join(cache, "pods-c-eth0"), "{")
	for _, n.config.DryRun = range []bool{true, false} {
		r, err := Uninstall(t.Context(), n.config, RemoveUnusedPrograms)
		cached, ok := errors.AsType[*CachedError](err)
		if !ok || len(cached.Attachments) != 1 || cached.Attachments[0].ContainerID != "b" || !strings.Contains(err.Error(), ": b: ") || !n.isInstalled(t) {
			t.Errorf("got %v", err)
		}
		if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "pods-c-eth0") {
			t.Errorf("warnings %q", r.Warnings)
		}
		n.want(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
	}
	if err := os.Remove(filepath.Join(cache, "pods-b-eth0")); err != nil {
		t.Fatal(err)
	}
	r, err := Uninstall(t.Context(), n.config, RemoveUnusedPrograms)
	if err != nil || !r.Plugin.Changed || len(r.Warnings) != 1 || n.isInstalled(t) {
		t.Errorf("with an unreadable file in the cache: %+v, %v", r, err)
	}
	n.install(t)
	put("pods-b-eth0", "b", bridgeAndOurs)
	if r, err := Uninstall(t.Context(), n.config, RemovePrograms); err != nil || !r.Plugin.Changed {
		t.Errorf("forced: %+v, %v", r, err)
	}
}
