// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/pkg/state"
)

func TestTheEnvironmentFileHasTheDefaultOfEveryFlag(t *testing.T) {
	b, err := os.ReadFile("../../deploy/systemd/halfclose.default")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "#") && line != "" {
			t.Errorf("it sets a variable: %s", line)
		}
		if name, value, ok := strings.Cut(strings.TrimPrefix(line, "#"), "="); ok && strings.HasPrefix(name, "HALFCLOSE_") {
			got[name] = value
		}
	}
	want := map[string]string{state.EnvDir: state.DefaultDir}
	Command(Environment{}).Flags().VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "help":
		case "idle-exit", "wait", "host-root": // for operators, the plugin and containers
		default:
			if !f.Hidden {
				want["HALFCLOSE_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))] = f.DefValue
			}
		}
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deploy/systemd/halfclose.default (-flags +file)\n%s", diff)
	}
}
