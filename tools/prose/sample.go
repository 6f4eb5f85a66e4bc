// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
)

const (
	sampleComments   = 40 // of Go files
	sampleParagraphs = 20 // of Markdown
	minSampleWords   = 6  // shorter texts say too little to judge
)

// passage is a text with its place.
type passage struct {
	path string
	text
}

// printSample prints comments and paragraphs drawn at random. The same seed draws the same from the same tree.
func printSample(dir string, seed uint64, out io.Writer) error {
	files, err := sourceFiles(dir)
	if err != nil {
		return fmt.Errorf("prose: %w", err)
	}
	var comments, paragraphs []passage
	for _, path := range files {
		s, err := parseSource(dir, path)
		if err != nil {
			return fmt.Errorf("prose: %w", err)
		}
		for _, t := range s.texts {
			if !t.quotes || len(strings.Fields(t.content)) < minSampleWords || strings.Contains(t.content, "SPDX-License-Identifier") {
				continue
			}
			switch filepath.Ext(path) {
			case ".go":
				comments = append(comments, passage{path, t})
			case ".md":
				paragraphs = append(paragraphs, passage{path, t})
			}
		}
	}
	random := rand.New(rand.NewPCG(seed, seed))
	for _, p := range slices.Concat(draw(random, comments, sampleComments), draw(random, paragraphs, sampleParagraphs)) {
		fmt.Fprintf(out, "%s:%d:\n%s\n\n", p.path, p.first, strings.Trim(p.content, "\n"))
	}
	return nil
}

// draw returns n of the passages, or all if there are fewer, in the order of the tree.
func draw(random *rand.Rand, of []passage, n int) []passage {
	chosen := random.Perm(len(of))[:min(n, len(of))]
	slices.Sort(chosen)
	drawn := make([]passage, len(chosen))
	for i, c := range chosen {
		drawn[i] = of[c]
	}
	return drawn
}
