// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/inject"
)

// envOrder makes this test binary install or uninstall: an order as JSON.
const envOrder = "_HALFCLOSE_INSTALL_ORDER"

// order is an installation or uninstallation in a process of its own.
type order struct {
	BinDir, ConfDir, Plugin, Command, Entry string
	DropIn, Uninstall                       bool
}

func (o order) execute(ctx context.Context) error {
	e, problems := NewEntry([]byte(o.Entry))
	if len(problems) > 0 {
		return problems
	}
	c := Config{BinDir: o.BinDir, ConfDir: o.ConfDir, Plugin: o.Plugin, Command: o.Command, Entry: e, DropIn: o.DropIn}
	var err error
	if o.Uninstall {
		_, err = Uninstall(ctx, c, KeepPrograms)
	} else {
		_, err = Install(ctx, c)
	}
	return err
}

// runOrder executes the order in the environment, if there is one.
func runOrder() (had bool, err error) {
	text := os.Getenv(envOrder)
	if text == "" {
		return false, nil
	}
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return true, err
	}
	return true, o.execute(context.Background())
}

// TestAKillBetweenAnyTwoSystemCallsLeavesAWholeNetwork kills the installer's process before each change that it makes to a
// file, and looks at the node as a runtime does. Another installer then completes the work.
func TestAKillBetweenAnyTwoSystemCallsLeavesAWholeNetwork(t *testing.T) {
	t.Parallel()
	for name, s := range scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			undisturbed := s.node(t)
			undisturbed.runAgain(t, s.uninstall)
			want := undisturbed.files(t)
			var n node
			inject.KillBeforeEach(t, func() (*exec.Cmd, string) {
				n = s.node(t)
				text, err := json.Marshal(order{
					BinDir: n.config.BinDir, ConfDir: n.config.ConfDir, Plugin: n.config.Plugin, Command: n.config.Command,
					Entry: `{"mode": "observe"}`, DropIn: s.dropIn, Uninstall: s.uninstall,
				})
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), envOrder+"="+string(text))
				return cmd, n.dir()
			}, func(before string) {
				s.check(t, n)
				n.runAgain(t, s.uninstall)
				if names := n.temporaryFiles(t); len(names) > 0 {
					t.Errorf("the next run leaves %v", names)
				}
				if diff := cmp.Diff(want, n.files(t)); diff != "" {
					t.Errorf("files after the next run (-want +got)\n%s", diff)
				}
				if names, err := filepath.Glob(filepath.Join(n.config.ConfDir, ".*")); err != nil || len(names) > 0 {
					t.Errorf("the next run leaves %v, %v", names, err)
				}
				if t.Failed() {
					t.Fatalf("killed before %s", before)
				}
			})
		})
	}
}
