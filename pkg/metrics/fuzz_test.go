// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/metrics"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// FuzzALabelIsReadAsItWasWritten writes names that come from outside and reads them as a scraper does.
func FuzzALabelIsReadAsItWasWritten(f *testing.F) {
	for _, name := range []string{"", "shop", `back\slash`, `"`, "two\nlines", `\n`, "\x00\x1f\x7f", "\xff\xfe", "日本", `} 1 # HELP`, "\r", "\u2028"} {
		f.Add(name, "v1.2.3")
	}
	f.Fuzz(func(t *testing.T, name, version string) {
		var fig metrics.Figures
		fig.Build.Version = version
		fig.Reaper.Destroyed = map[reaper.CountKey]uint64{{State: inetdiag.CloseWait, Namespace: name}: 7}
		families := parse(t, fig.Append(nil))
		destroyed := families["halfclose_destroyed_total"].GetMetric()
		if len(destroyed) != 1 || destroyed[0].GetCounter().GetValue() != 7 {
			t.Fatalf("read as %v", destroyed)
		}
		for _, l := range destroyed[0].GetLabel() {
			if want := strings.ToValidUTF8(name, "\uFFFD"); l.GetName() == "namespace" && l.GetValue() != want {
				t.Errorf("%q is read as %q", want, l.GetValue())
			}
		}
		for _, l := range families["halfclose_build_info"].GetMetric()[0].GetLabel() {
			if want := strings.ToValidUTF8(version, "\uFFFD"); l.GetName() == "version" && l.GetValue() != want {
				t.Errorf("%q is read as %q", want, l.GetValue())
			}
		}
	})
}
