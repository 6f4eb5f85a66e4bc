// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// text is a piece of a file to check: a comment, a string literal, a paragraph.
type text struct {
	section string // of the rules, nameRules and so on for a name
	first   int    // its first line in the file
	content string // with the line breaks that it has in the file
	ends    []int  // lines, beside those of a finding, whose marker counts for it
	quotes  bool   // what is quoted in it is not checked
}

// source is a file taken apart.
type source struct {
	texts   []text
	markers map[int]string // the lines with a marker, and the rest of each behind it
}

// hashFiles are the endings of files whose comments start with #.
var hashFiles = map[string]bool{
	".sh": true, ".yaml": true, ".yml": true, ".toml": true, ".py": true, ".service": true, ".socket": true,
	".timer": true, ".conf": true, ".default": true, ".tpl": true, ".json": true,
}

// parseSource splits a file into texts, by the file's kind. A kind that is not checked has no texts.
func parseSource(dir, path string) (source, error) {
	if strings.Contains("/"+path, "/testdata/") {
		return source{}, nil
	}
	content, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		return source{}, err
	}
	base, ext := filepath.Base(path), filepath.Ext(path)
	switch {
	case ext == ".go":
		return parseGo(path, content)
	case ext == ".c" || ext == ".h":
		return parseC(string(content)), nil
	case ext == ".md" || base == "NOTES.txt":
		return parseMarkdown(string(content)), nil
	case hashFiles[ext] || base == "Makefile" || base == "Dockerfile" || bytes.HasPrefix(content, []byte("#!")):
		return parseHash(string(content)), nil
	}
	return source{}, nil
}

// marker finds "prose:ok" in a comment. Its submatch is the rest of the line.
var marker = regexp.MustCompile(`(?:#|//|/\*|<!--).*?\bprose:ok\b(.*)`)

// addMarker looks for a marker in a line.
func (s *source) addMarker(line int, text string) {
	if m := marker.FindStringSubmatch(maskQuoted(text)); m != nil {
		if s.markers == nil {
			s.markers = map[int]string{}
		}
		s.markers[line] = m[1]
	}
}

// parseMarkdown makes each paragraph a text. Blocks of code are checked as well: readers read them.
func parseMarkdown(content string) source {
	var s source
	line := 1
	for paragraph := range strings.SplitSeq(content, "\n\n") {
		s.texts = append(s.texts, text{section: proseRules, first: line, content: paragraph, quotes: true})
		line += strings.Count(paragraph, "\n") + 2
	}
	for i, l := range strings.Split(content, "\n") {
		s.addMarker(i+1, l)
	}
	return s
}

// parseHash makes each block of comments a text, and each other line one, with a comment at its end on its own.
func parseHash(content string) source {
	var s source
	inBlock := false
	for i, line := range strings.Split(content, "\n") {
		s.addMarker(i+1, line)
		if comment, is := strings.CutPrefix(strings.TrimSpace(line), "#"); is {
			if inBlock {
				s.texts[len(s.texts)-1].content += "\n" + comment
			} else {
				s.texts = append(s.texts, text{section: proseRules, first: i + 1, content: comment, quotes: true})
			}
			inBlock = true
			continue
		}
		inBlock = false
		code, comment, _ := strings.Cut(line, " #")
		s.texts = append(s.texts, text{section: proseRules, first: i + 1, content: code},
			text{section: proseRules, first: i + 1, content: comment, quotes: true})
	}
	return s
}

// cText matches the comments and string literals of C. A character literal only keeps its quote from opening a string.
var cText = regexp.MustCompile(`(?s)//[^\n]*(?:\n[ \t]*//[^\n]*)*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'`)

// commentPrefix is what starts the lines of comments in C and Go.
var commentPrefix = regexp.MustCompile(`(?m)^[ \t]*(?://|/\*+|\*+/|\*)?`)

func parseC(content string) source {
	var s source
	for _, at := range cText.FindAllStringIndex(content, -1) {
		first := 1 + strings.Count(content[:at[0]], "\n")
		s.addCText(first, content[at[0]:at[1]])
	}
	return s
}

// addCText adds a comment or literal of C.
func (s *source) addCText(first int, found string) {
	switch found[0] {
	case '"':
		s.texts = append(s.texts, text{section: proseRules, first: first, content: found})
	case '/':
		for i, line := range strings.Split(found, "\n") {
			s.addMarker(first+i, "//"+line)
		}
		s.texts = append(s.texts, text{
			section: proseRules, first: first, content: commentPrefix.ReplaceAllString(found, ""), quotes: true,
		})
	}
}
