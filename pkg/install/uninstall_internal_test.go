// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
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

func TestUninstallTakesTheEntryOutOfEveryNetwork(t *testing.T) {
	renewed := strings.Replace(bridgeConfList, "1400", "9000", 1)
	for name, tt := range map[string]struct {
		files   map[string]string
		changed map[string]string // against files; empty is gone
		removed []string
		warns   string
	}{
		"none at all":    {files: map[string]string{"10-pods.conflist": bridgeList, "20.conf": bridgeConf, "30.conflist": halfWritten}},
		"one of several": {files: map[string]string{"10-pods.conflist": otherList, "20-b.conflist": bridgeAndOurs}, changed: map[string]string{"20-b.conflist": bridgeList}, removed: []string{"20-b.conflist pods"}},
		"in a file of its own": {
			files:   map[string]string{"10-pods.conflist": bridgeAndOurs, "x/halfclose.conf": oursDropIn, "y/a.conf": oursDropIn, "y/b.conf": bridgeConf},
			changed: map[string]string{"10-pods.conflist": bridgeList, "x/halfclose.conf": "", "x": "", "y/a.conf": ""},
			removed: []string{"10-pods.conflist pods", "x/halfclose.conf x", "y/a.conf y"},
		},
		"a list in the place of a file": {
			files:   map[string]string{"10-a.conflist": bridgeConfList, "10-a.conf.halfclose": bridgeConf},
			changed: map[string]string{"10-a.conflist": "", "10-a.conf.halfclose": "", "10-a.conf": bridgeConf},
			removed: []string{"10-a.conflist single"},
		},
		"one that says something else by now": {
			files:   map[string]string{"10-a.conflist": renewed, "10-a.conf.halfclose": bridgeConf},
			changed: map[string]string{"10-a.conflist": strings.Replace(renewed, ",\n    "+ourLine, "", 1)},
			removed: []string{"10-a.conflist single"},
			warns:   "10-a.conf.halfclose is left",
		},
		"one that another has chained a plugin to": {
			files: map[string]string{
				"10-a.conflist":       strings.Replace(bridgeConfList, ourLine, "{\"type\": \"istio-cni\"},\n    "+ourLine, 1),
				"10-a.json.halfclose": bridgeConf,
			},
			changed: map[string]string{"10-a.conflist": strings.Replace(bridgeConfList, ourLine, `{"type": "istio-cni"}`, 1)},
			removed: []string{"10-a.conflist single"},
			warns:   "10-a.json.halfclose is left",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, tt.files)
			before := n.files(t)
			dry := n.config
			dry.DryRun = true
			plan, err := Uninstall(t.Context(), dry, true)
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
				t.Errorf("a dry run said %+v, and it was %+v", plan, r)
			}
			if warned := strings.Join(r.Warnings, "\n"); !strings.Contains(warned, tt.warns) || (warned == "") != (tt.warns == "") {
				t.Errorf("warnings %q, want %q", warned, tt.warns)
			}
			after := maps.Clone(before)
			for file, data := range tt.changed {
				if after[file] = data; data == "" {
					delete(after, file)
				}
			}
			n.want(t, after)
			if r := n.uninstall(t); len(r.Files) > 0 || r.Plugin.Changed {
				t.Errorf("the second time: %+v", r)
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
		if !n.runnable(t) {
			t.Error("the binary is gone, which runtimes still call for pods that they made while it was listed")
		}
	}
}

func TestUninstallGoesOnPastWhatItCannotChange(t *testing.T) {
	alone := `{"cniVersion":"1.0.0","name":"alone","plugins":[{"type":"halfclose"}]}`
	broken := `{"cniVersion":"1.0.0","name":"b","plugins":[{"type":"halfclose"}`
	n := newNode(t, map[string]string{"10-alone.conflist": alone, "20-pods.conflist": bridgeAndOurs, "30-broken.conflist": broken})
	elsewhere := filepath.Join(t.TempDir(), "x")
	write(t, elsewhere, bridgeAndOurs)
	if err := os.Symlink(elsewhere, n.path("40-link.conflist")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(n.config.BinDir, spec.PluginType), "")
	_, err := Uninstall(t.Context(), n.config, true)
	for _, says := range []string{
		"10-alone.conflist: it lists no plugin but halfclose", "30-broken.conflist cannot be loaded", "40-link.conflist is a symbolic link",
	} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q in it", err, says)
		}
	}
	n.want(t, map[string]string{
		"10-alone.conflist": alone, "20-pods.conflist": bridgeList, "30-broken.conflist": broken, "40-link.conflist": bridgeAndOurs,
	})
	if _, err := os.Stat(filepath.Join(n.config.BinDir, spec.PluginType)); err != nil {
		t.Errorf("the binary that is still listed: %v", err)
	}
}

func TestUninstallSaysWhatItCouldNotRead(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
	all := filepath.Dir(filepath.Dir(n.config.ConfDir)) // which is root's alone
	if err := errors.Join(os.Chmod(all, 0o755), os.Chmod(n.path("10-pods.conflist"), 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", n.path("20-dangling.conflist")); err != nil {
		t.Fatal(err)
	}
	var err error
	asNobody(t, func() { _, err = Uninstall(t.Context(), n.config, false) })
	if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "10-pods.conflist may list halfclose, and cannot be read") {
		t.Errorf("got %v", err)
	}
	if err != nil && strings.Contains(err.Error(), "dangling") {
		t.Errorf("it complains of a link that leads nowhere, too: %v", err)
	}
}

// asNobody runs f as a user who may read what everybody may. It takes root, who may become one.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	const nobody = 65534
	ran := make(chan bool)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the function
		_, _ = unix.SetfsuidRetUid(nobody)
		now, _ := unix.SetfsuidRetUid(-1)
		if now == nobody {
			f()
		}
		ran <- now == nobody
	}()
	if !<-ran {
		nstest.NeedPrivilege(t, "become nobody", unix.EPERM)
	}
}

func TestTheProgramsGoLastAndWhenAskedTo(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	n.install(t)
	if r := n.uninstall(t); r.changed() || !n.runnable(t) || n.link(t) != n.config.Command {
		t.Errorf("unasked: %+v", r)
	}
	for _, want := range []bool{true, false} {
		r, err := Uninstall(t.Context(), n.config, true)
		if err != nil || r.Plugin.Changed != want || r.Reaper.Changed != want || n.runnable(t) || n.link(t) != "" {
			t.Errorf("got %+v, %v", r, err)
		}
	}
	if r, err := Uninstall(t.Context(), Config{BinDir: "/none", ConfDir: "/none"}, true); err != nil || len(r.Files) > 0 || r.Plugin.Changed {
		t.Errorf("where there is no directory: %+v, %v", r, err)
	}
}
