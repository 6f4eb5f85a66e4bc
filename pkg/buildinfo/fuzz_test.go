// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package buildinfo_test

import (
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/buildinfo"
)

// FuzzParsePlugin parses the output of any program that is started as the plugin.
func FuzzParsePlugin(f *testing.F) {
	i := buildinfo.Info{Version: "v0.1.0", Commit: "0123abcd", Go: "go1.26.0", Platform: "linux/amd64"}
	f.Add("halfclose is a CNI plugin\n" + i.PluginLine() + "\n")
	f.Add("CNI plugin halfclose v1 (commit a, b)")
	f.Add("CNI plugin bridge v1.5.0")
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := buildinfo.ParsePlugin(text)
		if !ok {
			if got != (buildinfo.Info{}) {
				t.Errorf("%q is refused and yet read as %+v", text, got)
			}
			return
		}
		if !strings.Contains(text, got.PluginLine()) {
			t.Errorf("%q is read as %q", text, got.PluginLine())
		}
		if again, ok := buildinfo.ParsePlugin(got.PluginLine()); !ok || again != got {
			t.Errorf("%+v is read back as %+v, %v", got, again, ok)
		}
	})
}
