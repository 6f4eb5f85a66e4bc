// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	"github.com/agext/levenshtein"
)

// nearest returns the one of names that s was probably meant to be. Case, "-" and "_" make no difference;
// a few letters may be wrong or missing, more of them after a beginning that is right.
func nearest(s string, names []string) (string, bool) {
	const (
		longest = 64  // no name is mistyped into something longer, and the distance is quadratic
		enough  = 0.7 // of 1: "graze" is 0.86 of "grace", "closeWait" 0.79 of "closeWaitGrace"
	)
	if s == "" || len(s) > longest {
		return "", false
	}
	params := levenshtein.NewParams().BonusThreshold(0.5)
	best, bestMatch := "", enough
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
