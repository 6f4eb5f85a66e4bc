// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import "testing"

// FuzzFilesOfTheKernel parses any text as the release, sockstat and lockdown.
func FuzzFilesOfTheKernel(f *testing.F) {
	f.Add("6.18.5-amd64")
	f.Add("sockets: used 5\nTCP: inuse 3 orphan 0 tw 0 alloc 9 mem 1\n")
	f.Add("none [integrity] confidentiality")
	f.Add("TCP: alloc 99999999999999999999")
	f.Add("4.11\n5")
	f.Fuzz(func(t *testing.T, text string) {
		complete(t, []Finding{reportRelease(text, "x86_64")})
		if n := parseAlloc(text); n < 0 {
			t.Errorf("%q has %d sockets", text, n)
		}
		_ = parseLockdown(text)
	})
}
