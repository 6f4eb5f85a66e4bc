// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package golden compares outputs with files in testdata. Use it only for whole screens that a person should review; other
// outputs are better asserted as data.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the outputs to testdata, for a review of the difference")

// Text compares got with the file name.txt in testdata.
func Text(t *testing.T, name, got string) {
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
		t.Errorf("differs from %s; if that is intended, run the test with -update (-want +got)\n%s", path, diff)
	}
}
