// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what the tests get to testdata, for you to look at the difference")

// golden compares got with the file of that name in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("not as in %s; if it should be, run the test with -update (-want +got)\n%s", path, diff)
	}
}

// call runs a command line where nothing is set in the environment but what is in set.
func call(t *testing.T, set map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{}, args...), &env{
		out: &out, err: &errs, getenv: func(name string) string { return set[name] },
		syslog: func(message string, args ...any) { t.Errorf("in the system log: %s %v", message, args) },
	})
	return code, out.String(), errs.String()
}

func TestHelp(t *testing.T) {
	for _, tt := range []struct {
		file string
		args []string
	}{
		{"help", nil},
		{"help-reaper", []string{"reaper"}},
		{"help-status", []string{"status"}},
		{"help-sockets", []string{"sockets"}},
		{"help-version", []string{"version"}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			code, stdout, stderr := call(t, nil, append(tt.args, "--help")...)
			if code != 0 || stderr != "" {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			golden(t, tt.file, stdout)
			for line := range strings.Lines(stdout) {
				if len(line) > 140 {
					t.Errorf("a line of %d characters: %s", len(line), line)
				}
			}
		})
	}
}
