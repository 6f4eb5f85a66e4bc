// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Prose checks the words of new and changed lines: prose [-all] [-base COMMIT]
//
// It reads the comments, string literals and declared names of Go files, the comments and string literals of C files,
// and the whole text of Markdown, scripts and configuration. rules.txt lists what it finds. Lines that the
// base commit (in the file base) already has are not checked, wherever they are moved; with -all every line is.
//
// In comments and Markdown, text in quotation marks or backticks is not checked. A line with the comment
// "prose:ok: REASON" may have any word.
package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

//go:embed base
var baseCommit string

//go:embed rules.txt
var ruleList string

// errFindings is what run returns when it has printed findings.
var errFindings = errors.New("prose: see CONTRIBUTING.md, \"Writing\"")

func main() {
	if err := run(".", os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, errFindings) {
			os.Exit(1)
		}
		os.Exit(2)
	}
}

// run checks the source tree whose top directory is dir. Findings go to out, notes on what is not checked to notes.
func run(dir string, args []string, out, notes io.Writer) error {
	flags := flag.NewFlagSet("prose", flag.ContinueOnError)
	flags.SetOutput(notes)
	all := flags.Bool("all", false, "check every line")
	base := flags.String("base", strings.TrimSpace(baseCommit), "check the lines that this commit does not have")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("prose: %w", err)
	}
	rules, err := parseRules(ruleList)
	if err != nil {
		return err
	}
	changed, err := changedFiles(dir, *base, *all, notes)
	if err != nil {
		return err
	}
	found := false
	for _, file := range changed {
		findings, err := checkFile(dir, file, rules)
		if err != nil {
			return err
		}
		for _, f := range findings {
			found = true
			fmt.Fprintf(out, "%s:%d: %s: %s\n", file.path, f.line, f.word, f.instead)
		}
	}
	if found {
		return errFindings
	}
	return nil
}
