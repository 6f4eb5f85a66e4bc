// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strings"
)

// rule is one line of rules.txt.
type rule struct {
	pattern *regexp.Regexp
	instead string
}

// ruleSet has the rules by section.
type ruleSet map[string][]rule

// The sections of rules.txt.
const (
	proseRules    = "prose"
	literalRules  = "literals"
	nameRules     = "names"
	fieldRules    = "fields"
	functionRules = "functions"
)

func parseRules(text string) (ruleSet, error) {
	set := ruleSet{proseRules: nil, literalRules: nil, nameRules: nil, fieldRules: nil, functionRules: nil}
	section := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		pattern, instead, isRule := strings.Cut(line, " => ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isRule:
			re, err := compileRule(pattern)
			if err != nil {
				return nil, fmt.Errorf("rules.txt:%d: %w", i+1, err)
			}
			set[section] = append(set[section], rule{pattern: re, instead: instead})
		default:
			section = strings.Trim(line, "[]")
			if _, known := set[section]; !known {
				return nil, fmt.Errorf("rules.txt:%d: neither a section nor a rule: %s", i+1, line)
			}
		}
	}
	return set, nil
}

// compileRule lets a pattern match whole words only, and a space of it one line break.
func compileRule(pattern string) (*regexp.Regexp, error) {
	re := "(?:" + strings.ReplaceAll(pattern, " ", `(?:[ \t]+|[ \t]*\n[ \t]*)`) + ")"
	if !strings.HasPrefix(pattern, "[") { // a class of punctuation has no word's boundaries
		re = `\b` + re + `\b`
	}
	return regexp.Compile("(?i)" + re)
}
