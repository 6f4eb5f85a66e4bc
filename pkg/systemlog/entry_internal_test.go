// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemlog

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/journaltest"
)

func TestEntry(t *testing.T) {
	for name, tt := range map[string]struct {
		message string
		attrs   []Attr
		want    map[string]string
	}{
		"a message alone": {"started", nil, map[string]string{"MESSAGE": "started"}},
		"attributes are in the message and are fields": {
			"destroyed",
			[]Attr{{"state", "CLOSE_WAIT"}, {"pod.name", "web"}, {"error", "no such file"}, {"empty", ""}},
			map[string]string{
				"MESSAGE": `destroyed state=CLOSE_WAIT pod.name=web error="no such file" empty=""`,
				"STATE":   "CLOSE_WAIT", "POD_NAME": "web", "ERROR": "no such file", "EMPTY": "",
			},
		},
		"text of a pod's owner breaks no line and adds no field": {
			"warning\nPRIORITY=0",
			[]Attr{{"text", "a\nPRIORITY=0\n\x1b[2J"}},
			map[string]string{"MESSAGE": `warning PRIORITY=0 text="a\nPRIORITY=0\n\x1b[2J"`, "TEXT": "a\nPRIORITY=0\n\x1b[2J"},
		},
		"an attribute cannot replace a field of every entry": {
			"x",
			[]Attr{{"message", "m"}, {"priority", "0"}, {"_UID", "0"}, {"syslog_pid", "1"}},
			map[string]string{
				"MESSAGE":           "x message=m priority=0 _UID=0 syslog_pid=1",
				"HALFCLOSE_MESSAGE": "m", "HALFCLOSE_PRIORITY": "0", "HALFCLOSE__UID": "0", "HALFCLOSE_SYSLOG_PID": "1",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.want["PRIORITY"], tt.want["SYSLOG_IDENTIFIER"] = "6", "halfclose"
			if diff := cmp.Diff(tt.want, sent(t, Entry(PriorityInfo, tt.message, tt.attrs))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// sent sends an entry and returns it as journald reads it.
func sent(t *testing.T, entry []byte) map[string]string {
	t.Helper()
	d := journaltest.New(t)
	j, err := DialJournal(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := j.Write(entry); err != nil {
		t.Fatal(err)
	}
	return d.Next(t)
}

func TestALargeEntryKeepsItsMessageAndItsSmallFields(t *testing.T) {
	attrs := []Attr{{"first", "1"}}
	for i := range 64 {
		attrs = append(attrs, Attr{"key" + string(rune('a'+i%26)) + string(rune('a'+i/26)), strings.Repeat("x", 2*maxValueBytes)})
	}
	got := sent(t, Entry(PriorityError, "large", append(attrs, Attr{"last", "1"})))
	if !strings.HasPrefix(got["MESSAGE"], "large first=1 keyaa=xxx") || !strings.HasSuffix(got["MESSAGE"], "x...") {
		t.Errorf("MESSAGE is %.80q...", got["MESSAGE"])
	}
	total := 0
	for name, value := range got {
		total += len(name) + len(value)
		if len(value) > maxValueBytes {
			t.Errorf("%s has %d bytes", name, len(value))
		}
	}
	if got["FIRST"] != "1" || got["LAST"] != "1" || got["PRIORITY"] != "3" || total > maxEntryBytes+maxNameBytes {
		t.Errorf("%d bytes, FIRST %q, LAST %q, PRIORITY %q", total, got["FIRST"], got["LAST"], got["PRIORITY"])
	}
}

func TestFieldName(t *testing.T) {
	for key, want := range map[string]string{
		"pod.name":              "POD_NAME",
		"closeWait":             "CLOSEWAIT",
		"":                      "HALFCLOSE_",
		"2nd":                   "HALFCLOSE_2ND",
		"a=b\nc":                "A_B_C",
		"é":                     "HALFCLOSE__",
		strings.Repeat("k", 70): strings.Repeat("K", 64),
		"halfclose.namespace":   "HALFCLOSE_NAMESPACE",
	} {
		if got := fieldName(key); got != want {
			t.Errorf("%q: got %q, want %q", key, got, want)
		}
	}
}
