// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policyfile

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzLoadCopy reads any file as the copy of the last good policy file.
func FuzzLoadCopy(f *testing.F) {
	const path, text = "/etc/halfclose/policy.yaml", "version: 1\npods: []\n"
	for _, c := range []copyJSON{
		{copyVersion, path, time.Unix(0, 0).UTC(), sum(text), text},
		{copyVersion, "/other", time.Unix(0, 0).UTC(), sum(text), text},
		{copyVersion, path, time.Unix(0, 0).UTC(), sum("x"), "x"},
	} {
		data, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Add([]byte("null"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		from := filepath.Join(dir, "copy")
		if err := os.WriteFile(from, data, 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := loadCopy(from, path)
		if err != nil {
			if g != nil || !errors.Is(err, errDamaged) {
				t.Errorf("%v, %v", g, err)
			}
			return
		}
		if g == nil { // of another path
			return
		}
		if _, problems := Parse([]byte(g.text), nameOf(path)); len(problems) > 0 || g.file == nil || g.path != path {
			t.Errorf("%+v is taken for good: %v", g, problems)
		}
		if err := saveCopy(from, g); err != nil {
			t.Fatal(err)
		}
		if again, err := loadCopy(from, path); err != nil || again == nil || again.text != g.text || !again.since.Equal(g.since) {
			t.Errorf("saved and loaded: %+v, %v, want %+v", again, err, g)
		}
	})
}
