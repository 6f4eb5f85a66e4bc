// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Corpora keeps a few of the inputs that fuzzing found. An input is kept if it reaches code, or runs it a different number of
// times, which the seeds and the kept inputs of the target do not.
//
//	corpora [PACKAGE DIRECTORY...]
//
// It reads the go command's cache of inputs, to which scripts/fuzz.sh adds, and writes to testdata/fuzz of each package. It
// removes nothing from there: the other files are inputs that failed once.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxKept bounds the inputs that a target keeps, maxInputBytes the size of each.
	maxKept       = 12
	maxInputBytes = 2048
	module        = "github.com/halfclose/halfclose"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "corpora:", err)
		os.Exit(1)
	}
}

func run(dirs []string) error {
	if len(dirs) == 0 {
		var err error
		if dirs, err = packagesWithTargets("cluster", "internal", "pkg", "plugins", "test"); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		if err := keep(dir); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}

var targetName = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// packagesWithTargets returns the directories with a fuzz target below the roots.
func packagesWithTargets(roots ...string) (dirs []string, err error) {
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") || slices.Contains(dirs, filepath.Dir(path)) {
				return err
			}
			text, err := os.ReadFile(path)
			if err == nil && targetName.Match(text) {
				dirs = append(dirs, filepath.Dir(path))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// keep keeps inputs of each target of a package.
func keep(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "corpora-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	p := suite{dir: dir, tmp: tmp}
	if err := p.build(); err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, m := range targetName.FindAllSubmatch(text, -1) {
			if err := p.keepOf(string(m[1])); err != nil {
				return fmt.Errorf("%s: %w", m[1], err)
			}
		}
	}
	return nil
}

// suite is the tests of a package, built to count how often each block of the package and of its imports runs.
type suite struct {
	dir, tmp string
	cache    string // of the inputs that fuzzing found
}

func (p *suite) program() string { return filepath.Join(p.tmp, "tests") }

func (p *suite) build() error {
	list, err := p.run("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, ".")
	if err != nil {
		return err
	}
	imports := strings.Fields(list)
	cache, err := p.run("go", "env", "GOCACHE")
	if err != nil {
		return err
	}
	p.cache = filepath.Join(strings.TrimSpace(cache), "fuzz", imports[0])
	ours := slices.DeleteFunc(imports, func(path string) bool { return !strings.HasPrefix(path, module) })
	_, err = p.run("go", "test", "-c", "-covermode=count", "-coverpkg="+strings.Join(ours, ","), "-o", p.program(), ".")
	return err
}

func (p *suite) run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = p.dir
	var errText bytes.Buffer
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, errText.Bytes())
	}
	return string(out), nil
}

// feature is a block of code, and how often it ran, to the next power of two.
type feature struct {
	block string
	times int
}

// input is an input and what it runs.
type input struct {
	name string
	data []byte
	runs map[feature]struct{}
}

// keepOf chooses inputs of one target, one after the other: the one that adds most, then the smaller one.
func (p *suite) keepOf(target string) error {
	known, err := p.features(target, "", nil)
	if err != nil {
		return err
	}
	kept := filepath.Join(p.dir, "testdata", "fuzz", target)
	old, err := readInputs(kept)
	if err != nil {
		return err
	}
	for _, o := range old {
		runs, err := p.features(target, o.name, o.data)
		if err != nil {
			return err
		}
		merge(known, runs)
	}
	found, err := readInputs(filepath.Join(p.cache, target))
	if err != nil {
		return err
	}
	for i := range found {
		if found[i].runs, err = p.features(target, found[i].name, found[i].data); err != nil {
			return err
		}
	}
	n := 0
	for ; len(old)+n < maxKept && len(found) > 0; n++ {
		best := slices.MaxFunc(found, func(a, b input) int {
			return cmp.Or(cmp.Compare(adds(a.runs, known), adds(b.runs, known)), cmp.Compare(len(b.data), len(a.data)), cmp.Compare(b.name, a.name))
		})
		if adds(best.runs, known) == 0 {
			break
		}
		merge(known, best.runs)
		if err := errors.Join(os.MkdirAll(kept, 0o755), os.WriteFile(filepath.Join(kept, best.name), best.data, 0o644)); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stdout, "%s %s: %d of %d inputs are new, %d kept in all\n", p.dir, target, n, len(found), len(old)+n)
	return nil
}

func merge(known, more map[feature]struct{}) {
	for f := range more {
		known[f] = struct{}{}
	}
}

func adds(runs, known map[feature]struct{}) (n int) {
	for f := range runs {
		if _, ok := known[f]; !ok {
			n++
		}
	}
	return n
}

// readInputs reads the inputs of a directory. An absent one has none.
func readInputs(dir string) (all []input, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if len(data) <= maxInputBytes {
			all = append(all, input{name: e.Name(), data: data})
		}
	}
	return all, err
}

// linkTestdata makes the package's other files available in another directory of test data: its seeds may be in them.
func (p *suite) linkTestdata(to string) error {
	from, err := filepath.Abs(filepath.Join(p.dir, "testdata"))
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.Name() == "fuzz" {
			continue
		}
		err = errors.Join(err, os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
	}
	return err
}

// features runs a target with its seeds, or with one input alone, and returns what that runs.
func (p *suite) features(target, name string, data []byte) (map[feature]struct{}, error) {
	at := filepath.Join(p.tmp, "run")
	inputs := filepath.Join(at, "testdata", "fuzz", target)
	if err := errors.Join(os.RemoveAll(at), os.MkdirAll(inputs, 0o755), p.linkTestdata(filepath.Join(at, "testdata"))); err != nil {
		return nil, err
	}
	only := "^" + target + "$"
	if name != "" {
		only += "/^" + name + "$"
		if err := os.WriteFile(filepath.Join(inputs, name), data, 0o644); err != nil {
			return nil, err
		}
	}
	profile := filepath.Join(p.tmp, "profile")
	cmd := exec.Command(p.program(), "-test.run", only, "-test.coverprofile", profile)
	cmd.Dir = at
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("input %q: %w\n%s", name, err, out)
	}
	file, err := os.Open(profile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	runs := make(map[feature]struct{})
	for lines := bufio.NewScanner(file); lines.Scan(); {
		f := strings.Fields(lines.Text()) // FILE:FROM,TO STATEMENTS TIMES
		if len(f) != 3 {
			continue
		}
		times, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil {
			return nil, err
		}
		if times > 0 {
			runs[feature{f[0], bits.Len64(times)}] = struct{}{}
		}
	}
	return runs, nil
}
