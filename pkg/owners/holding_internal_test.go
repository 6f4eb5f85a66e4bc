// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package owners

import (
	"math"
	"testing"
)

func TestStartTimeIsParsedAfterAnyCommand(t *testing.T) {
	t.Parallel()
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for _, name := range []string{"(cat)", "(a) b (c)", "()", "(x y)"} {
		if got, err := parseStartTime([]byte("12 " + name + rest)); err != nil || got != 4711 {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	for _, wrong := range []string{"", "12 (cat)", "12 (cat) S 1", "12 cat"} {
		if got, err := parseStartTime([]byte(wrong)); err == nil {
			t.Errorf("%q: %d", wrong, got)
		}
	}
}

const limitsText = "Limit                     Soft Limit           Hard Limit           Units     \n" +
	"Max processes             63432                63432                processes \n" +
	"Max open files            1024                 524288               files     \n"

func TestTheFileLimitIsTheSoftOne(t *testing.T) {
	t.Parallel()
	if got, err := parseFileLimit([]byte(limitsText)); err != nil || got != 1024 {
		t.Errorf("%d, %v, want 1024", got, err)
	}
	if got, err := parseFileLimit([]byte("Max open files            unlimited            unlimited            files\n")); err != nil || got != math.MaxUint64 {
		t.Errorf("%d, %v, want no limit", got, err)
	}
	for _, wrong := range []string{"", "Max open files \n", "Max open files   x 1\n", "Max open files  -1 1\n", "Max processes 1 1\n"} {
		if got, err := parseFileLimit([]byte(wrong)); err == nil {
			t.Errorf("%q: %d", wrong, got)
		}
	}
}

// FuzzProcFilesNeverPanic parses what /proc shows of a process, which chooses its own name.
func FuzzProcFilesNeverPanic(f *testing.F) {
	f.Add([]byte(limitsText))
	f.Add([]byte("12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = parseFileLimit(text)
		_, _ = parseStartTime(text)
	})
}
