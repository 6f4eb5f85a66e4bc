// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/doctor"
)

// aReport has a finding of each level, with names from outside in it.
func aReport() doctor.Report {
	return doctor.Report{
		Version: buildinfo.Info{Version: "v1.2.3", Commit: "0123abc", Go: "go1.26", Platform: "linux/amd64"},
		Findings: []doctor.Finding{
			{Check: "kernel", Level: doctor.OK, What: "Linux 6.18.5-amd64 on x86_64"},
			{
				Check: "child-tables", Level: doctor.Info, What: "namespaces share one table of connections of 262144 buckets, so that a sweep of one walks all of it",
				Do: "set net.ipv4.tcp_child_ehash_entries=4096 on the host (sysctl -w, and in /etc/sysctl.d)",
			},
			{
				Check: "records", Level: doctor.Warn, What: "1 record with warnings: a\x1b[2J\tb\nc/\u202ed\a",
				Do: "correct the pod's annotation that it names, and make the pod anew",
			},
			{
				Check: "records", Level: doctor.Fail, What: "1 record cannot be acted on, since /run/netns/cni-01234567-89ab-cdef-0123-456789abcdef0123456789 is no namespace here",
				Do: "mount the host's directory with propagation: -v /run/netns:/run/netns:rslave in docker and podman",
			},
		},
	}
}

func printed(t *testing.T, e *env, r doctor.Report) string {
	t.Helper()
	var out bytes.Buffer
	e.out = &out
	if e.getenv == nil {
		e.getenv = func(string) string { return "" }
	}
	if err := e.printReport(r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestAReportFitsTheTerminal(t *testing.T) {
	golden.Text(t, "doctor", printed(t, &env{}, aReport()))
	golden.Text(t, "doctor-json", printed(t, &env{output: outputJSON}, aReport()))
	golden.Text(t, "doctor-empty", printed(t, &env{}, doctor.Report{}))
	t.Run("in wide there is one line for what is and one for what to do", func(t *testing.T) {
		wide := printed(t, &env{output: outputWide}, aReport())
		if n := strings.Count(wide, "\n"); n != 4+3+2 {
			t.Errorf("%d lines:\n%s", n, wide)
		}
	})
	t.Run("it is as narrow as the terminal", func(t *testing.T) {
		narrow := printed(t, &env{getenv: func(name string) string { return map[string]string{"COLUMNS": "50"}[name] }}, aReport())
		for line := range strings.Lines(narrow) {
			if alone := !strings.Contains(strings.TrimSpace(line), " "); len(line) > 51 && !alone { // a word is not broken
				t.Errorf("a line of %d columns: %s", len(line)-1, line)
			}
		}
	})
	t.Run("names from outside cannot act on the terminal", func(t *testing.T) {
		for _, output := range []string{outputTable, outputWide, outputJSON} {
			if text := printed(t, &env{output: output}, aReport()); strings.ContainsAny(text, "\x1b\a\t") {
				t.Errorf("%s: it is shown as it is:\n%q", output, text)
			}
		}
	})
}

func TestTheDoctorsVerdictIsTheWorstLevel(t *testing.T) {
	level := func(levels ...doctor.Level) (r doctor.Report) {
		for _, l := range levels {
			r.Findings = append(r.Findings, doctor.Finding{Check: "check-" + l.String(), Level: l})
		}
		return r
	}
	for _, tt := range []struct {
		name   string
		report doctor.Report
		strict bool
		says   string // "" for success
	}{
		{"all is well", level(doctor.OK, doctor.Info), false, ""},
		{"all is well, strictly", level(doctor.OK, doctor.Info), true, ""},
		{"a warning passes", level(doctor.OK, doctor.Warn), false, ""},
		{"a warning does not pass strictly", level(doctor.OK, doctor.Warn, doctor.Warn), true, "not in order: check-warn (what to do stands below each)"},
		{"a failure never does", level(doctor.Warn, doctor.Fail), false, "not in order: check-fail (what to do stands below each)"},
		{"each is named", level(doctor.Warn, doctor.Fail), true, "not in order: check-warn, check-fail (what to do stands below each)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := verdictOf(tt.report, tt.strict)
			if (err == nil) != (tt.says == "") || err != nil && err.Error() != tt.says {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}

// TestTheDoctorLooksAtThisMachine runs it for real: whatever it finds, its exit code agrees with its report.
func TestTheDoctorLooksAtThisMachine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := dir + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, dir string
		args      []string
		fails     bool // whatever the machine is like
	}{
		{name: "as it is", dir: dir},
		{name: "strictly", dir: dir, args: []string{"--strict"}},
		{name: "with a file for a state directory", dir: file, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"doctor", "--output", "json", "--cni-conf-dir", dir}, tt.args...)
			code, stdout, stderr := call(t, map[string]string{"HALFCLOSE_STATE_DIR": tt.dir}, args...)
			var r doctor.Report
			if err := json.Unmarshal([]byte(stdout), &r); err != nil {
				t.Fatalf("%v\n%s%s", err, stdout, stderr)
			}
			limit := doctor.Fail
			if len(tt.args) > 0 {
				limit = doctor.Warn
			}
			if want := r.Worst() >= limit; (code == exitFailure) != want || (code == exitSuccess) == want || tt.fails && !want {
				t.Errorf("exit code %d for a report whose worst is %v", code, r.Worst())
			}
			if last := strings.TrimSpace(stderr); code != exitSuccess && !strings.Contains(last, "halfclose: not in order: ") {
				t.Errorf("on stderr: %q", stderr)
			}
			checks := map[string]bool{}
			for _, f := range r.Findings {
				checks[f.Check] = true
			}
			for _, name := range []string{
				"kernel", "sock-destroy", "netns-entry", "owners", "peers", "netns-cookie", "openat2", "btf", "bpf", "child-tables", "capabilities", "user-namespace", "pid-namespace",
				"confinement", "state-dir", "netns-mounts", "records", "unregistered", "cni", "finder", "reaper", "switch", "mode",
			} {
				if !checks[name] {
					t.Errorf("there is nothing about %s", name)
				}
			}
		})
	}
}
