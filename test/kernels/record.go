// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// resultsFile has the latest result of each series that ran with -record.
	resultsFile = "docs/kernels.json"
	// matrixPage has the tables of the results, between two markers.
	matrixPage  = "docs/kernels.md"
	matrixBegin = "<!-- results: make test-kernels ARGS=-record -->\n"
	matrixEnd   = "<!-- end of results -->\n"
)

// record replaces the result of a series in the results file, and the tables of the page.
func record(top string, r result) error {
	all, err := readResults(top)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	all = slices.DeleteFunc(all, func(old result) bool { return old.Series == r.Series })
	all = append(all, r)
	slices.SortFunc(all, func(a, b result) int { return compareSeries(a.Series, b.Series) })
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	page, err := os.ReadFile(filepath.Join(top, matrixPage))
	if err != nil {
		return err
	}
	changed, err := replaceMatrix(string(page), matrix(all))
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(top, resultsFile), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(top, matrixPage), []byte(changed), 0o644))
}

func readResults(top string) ([]result, error) {
	text, err := os.ReadFile(filepath.Join(top, resultsFile))
	if err != nil {
		return nil, err
	}
	var all []result
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read %s: %w", resultsFile, err)
	}
	return all, nil
}

// compareSeries compares 5.10 and 6.1 by number.
func compareSeries(a, b string) int {
	parts := func(s string) [2]int {
		major, minor, _ := strings.Cut(s, ".")
		x, _ := strconv.Atoi(major)
		y, _ := strconv.Atoi(minor)
		return [2]int{x, y}
	}
	x, y := parts(a), parts(b)
	return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1]))
}

// replaceMatrix replaces the tables of the page.
func replaceMatrix(page, tables string) (string, error) {
	before, rest, ok := strings.Cut(page, matrixBegin)
	_, after, ok2 := strings.Cut(rest, matrixEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("%s has no lines %q and %q", matrixPage, matrixBegin, matrixEnd)
	}
	return before + matrixBegin + tables + matrixEnd + after, nil
}

// columns lists the parts of the table.
func columns() []part { return []part{kernelAccess, finders, asking, plugin, whole} }

// matrix returns the tables of the page: what ran on which kernel, and what was skipped.
func matrix(all []result) string {
	var b strings.Builder
	b.WriteString("\n| Linux | Debian's package |")
	for _, c := range kernelChecks() {
		b.WriteString(" " + c + " |")
	}
	for _, p := range columns() {
		b.WriteString(" " + string(p) + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(kernelChecks())+len(columns())) + "\n")
	for _, r := range all {
		which := ""
		if r.Short {
			which = " (20 tests)"
		}
		fmt.Fprintf(&b, "| %s%s | %s |", r.Series, which, version(r.Package))
		for _, c := range kernelChecks() {
			b.WriteString(" " + r.level(c) + " |")
		}
		for _, p := range columns() {
			b.WriteString(" " + r.count(p) + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n| Linux | skipped test | reason |\n|---|---|---|\n")
	for _, s := range skips(all) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(s.series, ", "), s.test, s.reason)
	}
	b.WriteString("\n")
	return b.String()
}

// version returns 6.1.192-3 of "linux-image-6.1.0-57-cloud-amd64 6.1.192-3".
func version(packaged string) string {
	_, v, _ := strings.Cut(packaged, " ")
	return v
}

// level returns the level of a check of halfclose doctor.
func (r result) level(check string) string {
	for _, f := range r.Findings {
		if f.Check == check {
			return f.Level
		}
	}
	return "?"
}

// count returns how many tests of a part have passed, of how many that were not skipped.
func (r result) count(p part) string {
	passed, failed := 0, 0
	for _, s := range r.Suites {
		if s.Part == p {
			passed += s.Passed
			failed += len(s.Failed)
		}
	}
	return fmt.Sprintf("%d of %d", passed, passed+failed)
}

// skip is a test that was skipped on some kernels for one reason.
type skip struct {
	test, reason string
	series       []string
}

// skips lists the skipped tests. Numbers of a run, as those of a namespace, are left out of the reasons.
func skips(all []result) []skip {
	var list []skip
	for _, r := range all {
		for _, s := range r.Suites {
			for _, t := range s.Skips {
				name, reason := s.Name+": "+t.Test, withoutNumbers(t.Reason)
				i := slices.IndexFunc(list, func(k skip) bool { return k.test == name && k.reason == reason })
				if i < 0 {
					i = len(list)
					list = append(list, skip{test: name, reason: reason})
				}
				if !slices.Contains(list[i].series, r.Series) {
					list[i].series = append(list[i].series, r.Series)
				}
			}
		}
	}
	slices.SortStableFunc(list, func(a, b skip) int { return cmp.Compare(a.test, b.test) })
	return list
}

// withoutNumbers replaces numbers of four and more digits by N, and what a table cannot contain.
func withoutNumbers(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		n := 0
		for n < len(text) && text[n] >= '0' && text[n] <= '9' {
			n++
		}
		switch {
		case n >= 4:
			b.WriteByte('N')
		case n > 0:
			b.WriteString(text[:n])
		default:
			n = 1
			b.WriteString(strings.ReplaceAll(text[:1], "|", "/"))
		}
		text = text[n:]
	}
	return b.String()
}
