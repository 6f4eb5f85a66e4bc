// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestAnUpgradeReplacesTheInstalledProgramsAlone(t *testing.T) {
	const (
		none = iota
		link
		program
	)
	for name, reaper := range map[string]int{"with a link to the command": link, "with a copy of it": program, "without a reaper's program": none} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, map[string]string{"10-pods.conflist": bridgeAndOurs})
			plugin := n.put(t, "halfclose", "the previous plugin")
			switch reaper {
			case link:
				if err := os.Symlink("/previous/halfclose", n.reaper()); err != nil {
					t.Fatal(err)
				}
			case program:
				n.put(t, filepath.Base(n.reaper()), "the previous command")
			}
			p, err := Upgrade(t.Context(), n.config)
			if err != nil || !p.Plugin.Changed || (p.Reaper != nil) != (reaper != none) {
				t.Fatalf("got %+v, %v", p, err)
			}
			if data, err := os.ReadFile(plugin); err != nil || string(data) != "the program" {
				t.Errorf("the plugin is %q, %v", data, err)
			}
			if data, err := os.ReadFile(n.reaper()); reaper != none && (err != nil || string(data) != theCommand) {
				t.Errorf("the reaper's program is %q, %v", data, err)
			} else if reaper == none && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a reaper's program was created: %v", err)
			}
			if isLink := n.link(t) != ""; isLink != (reaper == link) {
				t.Errorf("the reaper's program is a link: %v", isLink)
			}
			if data, err := os.ReadFile(n.path("10-pods.conflist")); err != nil || string(data) != bridgeAndOurs {
				t.Errorf("the network is %s, %v", data, err)
			}
			if p, err = Upgrade(t.Context(), n.config); err != nil || p.changed() {
				t.Errorf("the second upgrade: %+v, %v", p, err)
			}
		})
	}
}

func TestAnUpgradeInstallsNothingNew(t *testing.T) {
	n := newNode(t, map[string]string{"10-pods.conflist": bridgeList})
	if _, err := Upgrade(t.Context(), n.config); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("without a plugin: %v", err)
	}
	if _, err := os.Stat(filepath.Join(n.config.BinDir, "halfclose")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a plugin was installed: %v", err)
	}
	n.config.BinDir = filepath.Join(n.config.BinDir, "none")
	if _, err := Upgrade(t.Context(), n.config); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("without the directory: %v", err)
	}
}

func TestADryUpgradeChangesNothing(t *testing.T) {
	n := newNode(t, nil)
	n.config.DryRun = true
	plugin := n.put(t, "halfclose", "the previous plugin")
	if p, err := Upgrade(t.Context(), n.config); err != nil || !p.Plugin.Changed || p.Reaper != nil {
		t.Errorf("got %+v, %v", p, err)
	}
	if data, err := os.ReadFile(plugin); err != nil || string(data) != "the previous plugin" {
		t.Errorf("the plugin is %q, %v", data, err)
	}
}
