// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemlog

import (
	"testing"

	"github.com/halfclose/halfclose/internal/journaltest"
)

// FuzzNoTextAddsAFieldToAnEntry builds entries with foreign text in each place.
func FuzzNoTextAddsAFieldToAnEntry(f *testing.F) {
	f.Add("destroyed", "pod", "web", "error", "a\nPRIORITY=0")
	f.Add("a\nPRIORITY=0\n", "message", "", "priority", "\x00")
	f.Add("", "MESSAGE\n", "=", "_UID", "\xff")
	f.Fuzz(func(t *testing.T, message, key1, value1, key2, value2 string) {
		if fieldName(key1) == fieldName(key2) {
			return // two values of one field are one entry to journald, not to the parser
		}
		entry := Entry(PriorityInfo, message, []Attr{{key1, value1}, {key2, value2}})
		got := journaltest.Parse(t, entry)
		want := map[string]bool{"MESSAGE": true, "PRIORITY": true, "SYSLOG_IDENTIFIER": true, fieldName(key1): true, fieldName(key2): true}
		for name, value := range got {
			if !want[name] || len(value) > maxValueBytes {
				t.Errorf("field %q with %d bytes", name, len(value))
			}
		}
		if got["PRIORITY"] != "6" || got["SYSLOG_IDENTIFIER"] != "halfclose" {
			t.Errorf("priority %q of %q", got["PRIORITY"], got["SYSLOG_IDENTIFIER"])
		}
	})
}
