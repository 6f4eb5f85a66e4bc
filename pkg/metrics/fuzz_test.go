// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// FuzzAScraperReadsEachNamespaceAsItIs exposes the name of a Kubernetes namespace, which the runtime passes on unchecked.
func FuzzAScraperReadsEachNamespaceAsItIs(f *testing.F) {
	for _, name := range []string{"", "shop", `back\slash`, `"`, "two\nlines", `\n`, "\x00\x1f\x7f", "\xff\xfe", "日本", `} 1 # HELP`, "\r", "\u2028"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		m := reaper.Metrics{Destroyed: map[reaper.CountKey]uint64{{State: inetdiag.CloseWait, Namespace: name}: 7}}
		destroyed := parse(t, newFake(m).text(t))["halfclose_destroyed_total"].GetMetric()
		if len(destroyed) != 1 || destroyed[0].GetCounter().GetValue() != 7 {
			t.Fatalf("the parser reads %v", destroyed)
		}
		for _, l := range destroyed[0].GetLabel() {
			if want := strings.ToValidUTF8(name, "\uFFFD"); l.GetName() == "namespace" && l.GetValue() != want {
				t.Errorf("the parser reads %q as %q", want, l.GetValue())
			}
		}
	})
}
