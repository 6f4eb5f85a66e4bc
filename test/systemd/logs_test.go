// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// spoil writes a file that is no record into the state directory, for which the reaper logs a warning.
func (m *machine) spoil() {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.node().Store.AttachmentsDir(), "spoilt.json"), []byte("{"), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

const spoilt = "invalid record in the state directory"

func TestJournaldHasPrioritiesAndFields(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.run("systemctl", "start", "halfclose")
	p := m.start(destroy)
	m.spoil()
	m.destroyed(p.Leak)

	warning := m.logged(spoilt+" file=spoilt.json error=", "-p", "warning")
	end := m.logged("destroyed half-closed socket pod_namespace=shop pod=web ", "POD=web")
	fields := func(e map[string]any, names ...string) map[string]any {
		some := make(map[string]any)
		for _, name := range names {
			some[name] = e[name]
		}
		return some
	}
	got := []map[string]any{
		fields(warning, "PRIORITY", "SYSLOG_IDENTIFIER", "_SYSTEMD_UNIT", "FILE"),
		fields(end, "PRIORITY", "SYSLOG_IDENTIFIER", "_SYSTEMD_UNIT", "POD_NAMESPACE", "STATE", "LOCAL", "PEER"),
	}
	want := []map[string]any{
		{"PRIORITY": "4", "SYSLOG_IDENTIFIER": "halfclose", "_SYSTEMD_UNIT": "halfclose.service", "FILE": "spoilt.json"},
		{
			"PRIORITY": "6", "SYSLOG_IDENTIFIER": "halfclose", "_SYSTEMD_UNIT": "halfclose.service", "POD_NAMESPACE": "shop",
			"STATE": "CLOSE_WAIT", "LOCAL": p.Leak.Local.String(), "PEER": p.Leak.Peer.String(),
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got)\n%s", diff)
	}
	for _, e := range m.journal("-t", "halfclose") {
		text := e["MESSAGE"].(string)
		if strings.Contains(text, "time=") || strings.Contains(text, "level=") || strings.HasPrefix(text, "<") {
			t.Errorf("the message repeats a field of journald: %s", text)
		}
	}
	for _, e := range m.journal("-p", "warning") {
		if text := e["MESSAGE"].(string); !strings.HasPrefix(text, spoilt) {
			t.Errorf("an unexpected warning: %s", text)
		}
	}
}

func TestJSONLinesHavePrioritiesToo(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write("etc/default/halfclose", "HALFCLOSE_LOG_FORMAT=json\n")
	m.boot()
	m.run("systemctl", "start", "halfclose")
	m.spoil()
	e := m.logged(`{"level":"WARN","msg":"`+spoilt+`"`, "-p", "warning")
	if e["PRIORITY"] != "4" {
		t.Errorf("its priority is %v", e["PRIORITY"])
	}
	for _, e := range m.journal("-t", "halfclose") {
		var line map[string]any
		if err := json.Unmarshal([]byte(e["MESSAGE"].(string)), &line); err != nil || line["msg"] == nil || line["time"] != nil {
			t.Errorf("a line is %s: %v", e["MESSAGE"], err)
		}
	}
}
