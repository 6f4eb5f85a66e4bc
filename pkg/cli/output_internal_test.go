// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/pkg/term"
)

func TestJSONIsEscapedWithoutChangingItsValues(t *testing.T) {
	const name = apitest.Hostile + "\u009b31m\u2028\U000e0001\x7fübergröße"
	var out bytes.Buffer
	if err := printJSON(&out, map[string]string{"name": name}); err != nil {
		t.Fatal(err)
	}
	if shown := strings.ReplaceAll(out.String(), "\n", ""); safetext.Escape(shown) != shown || !strings.Contains(shown, "übergröße") {
		t.Errorf("printed is %q", shown)
	}
	var got map[string]string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got["name"] != name {
		t.Errorf("decoded as %q, %v, want %q", got["name"], err, name)
	}
}

func TestAWideTableHasAnyWidth(t *testing.T) {
	e := showing(&bytes.Buffer{}, nil)
	e.out, e.output = termtest.New(t, 132, 24).TTY, outputWide
	if got := e.screen(); got != (term.Screen{Width: 0, Colour: true}) {
		t.Errorf("got %+v", got)
	}
}

func TestOnlyTerminalsHaveColours(t *testing.T) {
	terminal := termtest.New(t, 80, 24)
	e := showing(nil, map[string]string{"TERM": "xterm"})
	e.out = terminal.TTY
	if err := e.printSockets(apitest.Sockets()[1:2], false); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, patience, "the table is coloured", func() bool {
		got := terminal.Written()
		return strings.Contains(got, "\x1b[1mPOD\x1b[0m") && strings.Contains(got, "\x1b[33mFIN_WAIT2\x1b[0m")
	})
	if got := shown(t, func(e *env) error { return e.printSockets(apitest.Sockets(), true) }); strings.Contains(got, "\x1b") {
		t.Errorf("a file gets %q", got)
	}
}
