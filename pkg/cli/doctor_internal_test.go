// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/golden"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/doctor"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/term"
)

// aReport returns a report with a finding of each level, some with hostile names.
func aReport() doctor.Report {
	return doctor.Report{
		Version: buildinfo.Info{Version: "v1.2.3", Commit: "0123abc", Go: "go1.26", Platform: "linux/amd64"},
		Findings: []doctor.Finding{
			{ID: "kernel", Check: "kernel", Level: doctor.OK, What: "Linux 6.18.5-amd64 on x86_64"},
			{
				ID: "child-tables", Check: "child-tables", Level: doctor.Info, What: "namespaces share one hash table of 262144 buckets, so each sweep walks all of it",
				Do: "set net.ipv4.tcp_child_ehash_entries=4096 on the host (sysctl -w, and in /etc/sysctl.d)",
			},
			{
				ID: "records/warnings", Check: "records", Level: doctor.Warn, What: "1 record with warnings: a\x1b[2J\tb\nc/\u202ed\a",
				Do: "correct the annotation of the pod, and recreate the pod",
			},
			{
				ID: "cni/key/10-a\x1b[2J.conflist", Check: "records", Level: doctor.Fail, What: "1 record is inert: /run/netns/cni-01234567-89ab-cdef-0123-456789abcdef0123456789 is not a namespace here",
				Do: "mount the host's directory with propagation: -v /run/netns:/run/netns:rslave in docker and podman",
			},
		},
	}
}

func printed(t *testing.T, e *env, r doctor.Report) string { return printedWith(t, e, r, false) }

func printedWith(t *testing.T, e *env, r doctor.Report, all bool) string {
	t.Helper()
	var out bytes.Buffer
	e.Out = &out
	if e.Getenv == nil {
		e.Getenv = func(string) string { return "" }
	}
	if err := e.printReport(r, all); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestAReportFitsTheTerminal(t *testing.T) {
	golden.Text(t, "doctor", printed(t, &env{Printer: printer.Printer{Stdout: &term.Screen{Width: 80}}}, aReport()))
	golden.Text(t, "doctor-all", printedWith(t, &env{Printer: printer.Printer{Stdout: &term.Screen{Width: 80}}}, aReport(), true))
	for name, tt := range map[string]struct {
		report doctor.Report
		want   string
	}{
		"an empty report":           {doctor.Report{}, "0 ok, 0 info, 0 warn, 0 fail\n"},
		"without problems one line": {doctor.Report{Findings: aReport().Findings[:1]}, "1 ok (listed with --all), 0 info, 0 warn, 0 fail\n"},
	} {
		if got := printed(t, &env{}, tt.report); got != tt.want {
			t.Errorf("%s is %q, want %q", name, got, tt.want)
		}
	}
	t.Run("as JSON it is the whole report", func(t *testing.T) {
		apitest.CheckJSON(t, printed(t, &env{Printer: printer.Printer{Format: printer.JSON}}, aReport()), map[string]any{
			"level": "fail", "version.version": "v1.2.3", "version.commit": "0123abc", "version.go": "go1.26", "version.platform": "linux/amd64",
			"findings.0.id": "kernel", "findings.0.check": "kernel", "findings.0.level": "ok", "findings.0.what": "Linux 6.18.5-amd64 on x86_64",
			"findings.1.id": "child-tables", "findings.3.id": aReport().Findings[3].ID,
			"findings.1.check": "child-tables", "findings.1.level": "info", "findings.1.what": aReport().Findings[1].What, "findings.1.do": aReport().Findings[1].Do,
			"findings.2.id": "records/warnings", "findings.2.check": "records", "findings.2.level": "warn", "findings.2.what": aReport().Findings[2].What, "findings.2.do": aReport().Findings[2].Do,
			"findings.3.check": "records", "findings.3.level": "fail", "findings.3.what": aReport().Findings[3].What, "findings.3.do": aReport().Findings[3].Do,
		})
	})
	t.Run("in wide the finding and the fix have one line each", func(t *testing.T) {
		wide := printed(t, &env{Printer: printer.Printer{Format: printer.Wide}}, aReport())
		if n := strings.Count(wide, "\n"); n != 2+3+3 {
			t.Errorf("%d lines:\n%s", n, wide)
		}
	})
	t.Run("it fits a narrow terminal", func(t *testing.T) {
		narrow := printed(t, &env{Printer: printer.Printer{Stdout: &term.Screen{Width: 50}}}, aReport())
		for line := range strings.Lines(narrow) {
			if alone := !strings.Contains(strings.TrimSpace(line), " "); len(line) > 51 && !alone { // a word is not broken
				t.Errorf("a line of %d columns: %s", len(line)-1, line)
			}
		}
	})
	t.Run("hostile names are escaped", func(t *testing.T) {
		for _, output := range []string{printer.Table, printer.Wide, printer.JSON} {
			if text := printed(t, &env{Printer: printer.Printer{Format: output}}, aReport()); strings.ContainsAny(text, "\x1b\a\t") {
				t.Errorf("%s: control characters in\n%q", output, text)
			}
		}
	})
}

func TestTheWorstLevelDecidesTheDoctorsExit(t *testing.T) {
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
		want   string // "" for success
	}{
		{"no problem", level(doctor.OK, doctor.Info), false, ""},
		{"no problem, strict", level(doctor.OK, doctor.Info), true, ""},
		{"a warning passes", level(doctor.OK, doctor.Warn), false, ""},
		{"a warning fails if strict", level(doctor.OK, doctor.Warn, doctor.Warn), true, "not in order: check-warn (the fix is below each)"},
		{"a failure", level(doctor.Warn, doctor.Fail), false, "not in order: check-fail (the fix is below each)"},
		{"the error lists every check", level(doctor.Warn, doctor.Fail), true, "not in order: check-warn, check-fail (the fix is below each)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := reportError(tt.report, tt.strict)
			if (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestTheDoctorOnThisMachine checks that the exit code agrees with the report.
func TestTheDoctorOnThisMachine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := dir + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, dir string
		args      []string
		fails     bool // on any machine
	}{
		{name: "default", dir: dir},
		{name: "strict", dir: dir, args: []string{"--strict"}},
		{name: "a file as state directory", dir: file, fails: true},
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
			if want := r.Worst() >= limit; (code == cmdline.Failure) != want || (code == cmdline.Success) == want || tt.fails && !want {
				t.Errorf("exit code %d for a report whose worst is %v", code, r.Worst())
			}
			if last := strings.TrimSpace(stderr); code != cmdline.Success && !strings.Contains(last, "halfclose: not in order: ") {
				t.Errorf("on stderr: %q", stderr)
			}
			checks, ids := map[string]bool{}, map[string]bool{}
			for _, f := range r.Findings {
				checks[f.Check] = true
				if ids[f.ID] || f.ID != f.Check && !strings.HasPrefix(f.ID, f.Check+"/") {
					t.Errorf("the check %s has a finding with the id %q, which is empty or of another finding or check", f.Check, f.ID)
				}
				ids[f.ID] = true
			}
			for _, name := range []string{
				"kernel", "sock-destroy", "netns-entry", "owners", "peers", "netns-cookie", "openat2", "btf", "bpf", "child-tables", "capabilities", "user-namespace", "pid-namespace",
				"confinement", "state-dir", "netns-mounts", "records", "unregistered", "cni", "finder", "reaper", "switch", "mode",
			} {
				if !checks[name] {
					t.Errorf("the check %s is missing", name)
				}
			}
		})
	}
}
