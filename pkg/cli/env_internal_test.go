// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/daemon"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/term"
)

// call runs a command line in an environment with only the variables of set.
func call(t *testing.T, set map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{}, args...)
	if len(args) > 0 && args[0] == "install" && !slices.Contains(args, "--plugin") {
		args = append(args, "--plugin", fakePlugin(t, buildinfo.Get()))
	}
	getenv := func(name string) string { return set[name] }
	reaper := daemon.Command(daemon.Environment{
		Getenv: getenv,
		Syslog: func(message string, args ...any) { t.Errorf("in the system log: %s %v", message, args) },
	})
	code = run(t.Context(), args, &env{Printer: printer.Printer{Out: &out, Getenv: getenv}, err: &errs, more: []*cobra.Command{reaper}})
	return code, out.String(), errs.String()
}

// showing returns an environment that prints to out, with only the variables of set.
func showing(out *bytes.Buffer, set map[string]string) *env {
	return &env{
		Printer: printer.Printer{
			Out: out, Getenv: func(name string) string { return set[name] }, Now: func() time.Time { return apitest.Then().Add(time.Minute) },
		},
		err: &bytes.Buffer{},
	}
}

// shown returns the output on a screen of 80 columns.
func shown(t *testing.T, show func(*env) error) string { return shownAt(t, 80, show) }

// shownAt returns the output on a screen with this number of columns, 0 for a pipe.
func shownAt(t *testing.T, width int, show func(*env) error) string {
	t.Helper()
	var out bytes.Buffer
	e := showing(&out, nil)
	e.Stdout = &term.Screen{Width: width}
	if err := show(e); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
