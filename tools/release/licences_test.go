// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-licenses/v2/licenses"
)

const mit = `MIT License

Copyright (c) 2026 An Author

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
`

// linkedModule writes a module with these files. Its linked packages are in the root and in sub.
func linkedModule(t *testing.T, files map[string]string) linked {
	t.Helper()
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return linked{module{Path: "example.org/a", Version: "v1.2.3", Dir: dir}, []string{dir, sub}}
}

// text reads a file.
func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAModuleThatMayNotBeLinkedIsRefused(t *testing.T) {
	gpl := text(t, "../../LICENSES/GPL-2.0-only.txt")
	for _, c := range []struct {
		name, want string
		files      map[string]string
	}{
		{"GPL", "not allowed: GPL-2.0", map[string]string{"COPYING": gpl}},
		{"GPL in the directory of a linked package", "not allowed: GPL-2.0", map[string]string{"LICENSE": mit, "sub/LICENSE": gpl}},
		{"GPL beside MIT", "not allowed: GPL-2.0", map[string]string{"LICENSE": mit, "LICENSE.other": gpl}},
		{"no licence", "has no licence", map[string]string{"README.md": "hello"}},
		{"an unknown licence", "not allowed: unknown (LICENCE)", map[string]string{"LICENCE": "Do not use this on Sundays."}},
		{"GPL of a package that is not linked", "", map[string]string{"LICENSE": mit, "other/LICENSE": gpl}},
		{"MIT", "", map[string]string{"LICENSE.md": mit}},
		{"Go code called license", "", map[string]string{"LICENSE": mit, "license.go": "package license"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readLicences([]linked{linkedModule(t, c.files)})
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), "example.org/a v1.2.3: ") || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestNoticesHaveEveryTextOnce(t *testing.T) {
	same := map[string]string{"LICENSE": mit, "NOTICE": "This product includes software of An Author."}
	one, two := linkedModule(t, same), linkedModule(t, same)
	two.module.Path = "example.org/b"
	nested := linkedModule(t, map[string]string{"LICENSE": mit, "sub/NOTICE.txt": "nested notice", "sub/PATENTS": "a grant", "other/NOTICE": "not linked"})
	nested.module.Path = "example.org/c"
	libraries, err := readLicences([]linked{one, two, nested})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "notices")
	if err := writeNotices(path, libraries); err != nil {
		t.Fatal(err)
	}
	got := text(t, path)
	for part, want := range map[string]int{
		"  example.org/a v1.2.3: MIT\n": 1, "  example.org/b v1.2.3: MIT\n": 1, "  example.org/c v1.2.3: MIT\n": 1,
		mit: 1, "This product includes software of An Author.\n": 1, "nested notice\n": 1, "a grant\n": 1, "not linked": 0,
		"example.org/a v1.2.3: NOTICE\nexample.org/b v1.2.3: NOTICE\n": 1, "example.org/c v1.2.3: sub/NOTICE.txt\n": 1,
	} {
		if n := strings.Count(got, part); n != want {
			t.Errorf("%q is in it %d times, want %d", part, n, want)
		}
	}
}

func TestTheProgramsMayBeDistributed(t *testing.T) {
	list := filepath.Join(t.TempDir(), "licenses.json")
	notices := filepath.Join(t.TempDir(), "notices")
	err := run([]string{
		"notices", "-package", "../../cmd/halfclose", "-package", "../../plugins/halfclose",
		"-platform", "linux/amd64", "-platform", "linux/arm64", "-o", notices, "-licenses", list,
	}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := readList(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"github.com/cilium/ebpf", "github.com/agext/levenshtein", "golang.org/x/sys", standardLibrary} {
		if !slices.ContainsFunc(libraries, func(l library) bool { return l.Path == path }) {
			t.Errorf("%s is not in the list", path)
		}
	}
	// A module whose licence asks for the text of its NOTICE.
	if !strings.Contains(text(t, notices), "This product includes software developed at ALRUX Inc.") {
		t.Error("the notice of levenshtein is missing")
	}
}

func TestTheTextsOfLicencesAreTheCanonicalOnes(t *testing.T) {
	classifier, err := licenses.NewClassifier()
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"Apache-2.0.txt": "Apache-2.0", "GPL-2.0-only.txt": "GPL-2.0", "BSD-2-Clause.txt": "BSD-2-Clause"} {
		found, err := classifier.Identify("../../LICENSES/" + file)
		if err != nil || len(found) != 1 || found[0].Name != want {
			t.Errorf("%s is %v (%v)", file, found, err)
		}
	}
	if text(t, "../../LICENSES/Apache-2.0.txt") != text(t, "../../LICENSE") {
		t.Error("LICENSE is not LICENSES/Apache-2.0.txt")
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/licenseclassifier/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	spdx := filepath.Join(string(bytes.TrimSpace(out)), "assets/License/BSD-2-Clause/pristine.txt")
	if text(t, "../../LICENSES/BSD-2-Clause.txt") != text(t, spdx) {
		t.Error("BSD-2-Clause.txt is not the text of SPDX")
	}
}
