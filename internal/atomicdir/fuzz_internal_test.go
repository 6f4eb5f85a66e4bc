// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package atomicdir

import (
	"strings"
	"testing"
)

func FuzzTemporaryNamesAreParsedAsTheyAreMade(f *testing.F) {
	f.Add("moved", "10-pods.conflist", ".halfclose-moved-10-pods.conflist.tmp")
	f.Add("0a1b", "-", ".halfclose-.tmp")
	f.Add("", "a.tmp", ".halfclose--a.tmp.tmp")
	f.Fuzz(func(t *testing.T, tag, name, file string) {
		if !strings.Contains(tag, "-") { // tags are a word or hexadecimal digits
			if gotTag, gotName, ok := parseTemporary(temporaryName(tag, name)); !ok || gotTag != tag || gotName != name {
				t.Errorf("%q, %q: parsed as %q, %q, %v", tag, name, gotTag, gotName, ok)
			}
		}
		if gotTag, gotName, ok := parseTemporary(file); ok && temporaryName(gotTag, gotName) != file {
			t.Errorf("%q is parsed as %q, %q", file, gotTag, gotName)
		}
	})
}
