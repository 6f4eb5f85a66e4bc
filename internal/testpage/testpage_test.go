// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package testpage_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/halfclose/halfclose/internal/testpage"
)

const page = `# Title

    not this

## Install

Text.

    one \
      continued
    two

    three

## Remove

Nothing.

## End
`

func TestTheFirstBlockAfterATextIsReturned(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		claim, after string
		want         []string // none: an error
	}{
		{"the block below a heading, with its continued lines", "## Install\n", []string{`one \`, "  continued", "two"}},
		{"a section without a block has none of the next section", "## Remove\n", nil},
		{"the end of a page has none", "## End\n", nil},
		{"a text that the page does not have", "## Upgrade\n", nil},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			got, err := testpage.Commands(path, test.after)
			if !slices.Equal(got, test.want) || (err == nil) != (test.want != nil) {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
	if _, err := testpage.Commands(path+".gone", "## Install\n"); err == nil {
		t.Error("a page that does not exist has commands")
	}
}
