// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	"github.com/agext/levenshtein"
)

// Nearest returns the name of which s is probably a misspelling. It ignores case, "-" and "_", and tolerates a few wrong or
// missing letters, more of them after a correct beginning.
func Nearest(s string, names []string) (string, bool) {
	const (
		maxBytes = 64  // all names are shorter, and the distance takes quadratic time
		minMatch = 0.7 // of 1: "graze" is 0.86 of "grace", "closeWait" 0.79 of "closeWaitGrace"
	)
	if s == "" || len(s) > maxBytes {
		return "", false
	}
	params := levenshtein.NewParams().BonusThreshold(0.5)
	best, bestMatch := "", minMatch
	for _, name := range names {
		if match := levenshtein.Match(fold(s), fold(name), params); match >= bestMatch && (best == "" || match > bestMatch) {
			best, bestMatch = name, match
		}
	}
	return best, best != ""
}

func fold(s string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s))
}
