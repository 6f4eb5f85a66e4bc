// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"bytes"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/term"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// showing returns a printer to out, with only the variables of set.
func showing(out *bytes.Buffer, set map[string]string) *Printer {
	return &Printer{
		Out: out, Getenv: func(name string) string { return set[name] }, Now: func() time.Time { return apitest.Then().Add(time.Minute) },
	}
}

// shown returns the output on a screen of 80 columns.
func shown(t *testing.T, show func(*Printer) error) string { return shownAt(t, 80, show) }

// shownAt returns the output on a screen with this number of columns, 0 for a pipe.
func shownAt(t *testing.T, width int, show func(*Printer) error) string {
	t.Helper()
	var out bytes.Buffer
	p := showing(&out, nil)
	p.Stdout = &term.Screen{Width: width}
	if err := show(p); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func printSockets(p *Printer, owners bool, list ...api.SocketView) error {
	rows := p.SocketRows(owners)
	rows.Add("", list...)
	return rows.Flush()
}

func printEntries(p *Printer, list ...api.Entry) error {
	rows := p.EntryRows()
	rows.Add("", list...)
	return rows.Flush()
}
