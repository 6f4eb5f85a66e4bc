// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/pkg/policyfile"
)

func TestPolicyCheckListsEveryMistakeAndExitsWith1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	for _, tt := range []struct {
		text           string
		code           int
		stdout, stderr string
	}{
		{policyfile.NoEntries, 0, path + ": no mistakes (0 entries)\n", ""},
		{
			"version: 1\ndefaults: {grace: 1m}\npodOverrides: none\npods: [{match: {pod: a}, set: {mode: off}}]\n", 0,
			path + ": no mistakes (1 entry, defaults, podOverrides none)\n", "",
		},
		{
			"version: 1\ndefaults: {grace: 10}\npods: [{match: {pod: a}, set: {grase: 1m}}]\n", 1,
			path + ":2:12: defaults.grace: \"10\" has no unit: write \"10s\"\n" +
				path + ":3:32: pods[0].set.grase: unknown key, did you mean \"grace\"?\n",
			"halfclose: 2 mistakes in " + path + "\n",
		},
		{"", 1, path + ": the file is empty: write \"version: 1\" and \"pods: []\" for a file without entries\n", "halfclose: 1 mistake in " + path + "\n"},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := call(t, nil, "policy", "check", path)
		if diff := cmp.Diff([]any{tt.code, tt.stdout, tt.stderr}, []any{code, stdout, stderr}); diff != "" {
			t.Errorf("%q (-want +got)\n%s", tt.text, diff)
		}
		if code, stdout, _ := call(t, nil, "policy", "check", path, "-o", "json"); code != tt.code || !strings.Contains(stdout, `"problems": [`) {
			t.Errorf("%q as JSON: exit code %d\n%s", tt.text, code, stdout)
		}
	}
	if code, _, stderr := call(t, nil, "policy", "check", path+".absent"); code != 1 || !strings.Contains(stderr, "no such file") {
		t.Errorf("an absent file: exit code %d, %s", code, stderr)
	}
	for _, args := range [][]string{{"policy"}, {"policy", "check"}, {"policy", "show"}, {"policy", "list"}} {
		if code, _, _ := call(t, nil, args...); code != 2 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}
