// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Prose checks the words of the source tree: prose [-sample SEED] [DIRECTORY]
//
// It reads the comments, string literals and declared names of Go files, the comments and string literals of C files,
// and the whole text of Markdown, scripts and configuration. rules.txt lists the expressions that it looks for.
//
// In comments and Markdown, text in quotation marks or backticks is not checked. A line with the comment
// "prose:ok: REASON" may have any word.
//
// With -sample it prints comments and paragraphs for a person to read instead: see printSample.
package main

import (
	"cmp"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed rules.txt
var ruleList string

// errFindings is the error of run after findings.
var errFindings = errors.New("prose: see CONTRIBUTING.md, \"Writing\"")

func main() {
	seed := flag.Uint64("sample", 0, "print a sample of comments and paragraphs drawn by this `seed`")
	flag.Parse()
	dir := cmp.Or(flag.Arg(0), ".")
	do := run
	if *seed != 0 {
		do = func(dir string, out io.Writer) error { return printSample(dir, *seed, out) }
	}
	if err := do(dir, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, errFindings) {
			os.Exit(1)
		}
		os.Exit(2)
	}
}

// run checks the source tree below dir and prints the findings to out.
func run(dir string, out io.Writer) error {
	rules, err := parseRules(ruleList)
	if err != nil {
		return err
	}
	files, err := sourceFiles(dir)
	if err != nil {
		return fmt.Errorf("prose: %w", err)
	}
	found := false
	for _, path := range files {
		findings, err := checkFile(dir, path, rules)
		if err != nil {
			return fmt.Errorf("prose: %w", err)
		}
		for _, f := range findings {
			found = true
			fmt.Fprintf(out, "%s:%d: %s: %s\n", path, f.line, f.word, f.instead)
		}
	}
	if found {
		return errFindings
	}
	return nil
}

// skippedDirs are directories without sources: git's, and build results that .gitignore names.
var skippedDirs = map[string]bool{".git": true, "bin": true, "dist": true, ".ci/log": true}

// sourceFiles returns the paths, relative to dir, of the regular files below it, in lexical order.
func sourceFiles(dir string) ([]string, error) {
	var files []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && skippedDirs[path]:
			return filepath.SkipDir
		case entry.Type().IsRegular():
			files = append(files, path)
		}
		return nil
	})
	return files, err
}
