// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
)

// showing returns an environment that prints to out, with only the variables of set.
func showing(out *bytes.Buffer, set map[string]string) *env {
	return &env{
		out: out, err: &bytes.Buffer{}, getenv: func(name string) string { return set[name] },
		now: func() time.Time { return apitest.Then().Add(time.Minute) },
	}
}

// shown returns the output on a screen of 80 columns.
func shown(t *testing.T, show func(*env) error) string { return shownAt(t, "", show) }

// shownAt returns the output on a screen with this number of columns, 80 for "".
func shownAt(t *testing.T, width string, show func(*env) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := show(showing(&out, map[string]string{"COLUMNS": width})); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
