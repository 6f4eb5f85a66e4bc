// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

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

func TestYAMLHasTheKeysAndValuesOfJSON(t *testing.T) {
	for name, v := range map[string]any{
		"a status": apitest.Status(), "sockets": apitest.Sockets(), "hostile text": map[string]string{"name": apitest.Hostile + "\u009b31m"},
		"texts that look like other types": map[string]string{"a": "off", "b": "443", "c": "null", "d": "", "e": "2026-01-02", "f": "- x: y", "g": "1h"},
		"empty collections":                map[string]any{"list": []int{}, "object": map[string]int{}, "none": nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := printYAML(&out, v); err != nil {
				t.Fatal(err)
			}
			if shown := strings.ReplaceAll(out.String(), "\n", ""); safetext.Escape(shown) != shown {
				t.Errorf("it is not safe to show: %q", shown)
			}
			if strings.Contains(out.String(), "{\"") {
				t.Errorf("it is JSON:\n%s", out.String())
			}
			var read any
			if err := yaml.Unmarshal(out.Bytes(), &read); err != nil {
				t.Fatal(err)
			}
			asJSON := func(v any) (value any) {
				data, err := json.Marshal(v)
				if err == nil {
					err = json.Unmarshal(data, &value)
				}
				if err != nil {
					t.Fatal(err)
				}
				return value
			}
			if diff := cmp.Diff(asJSON(v), asJSON(read)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestATableInAPipeHasOneLinePerRowAndNoHeaderIfAsked(t *testing.T) {
	for _, tt := range []struct {
		name      string
		noHeaders bool
		lines     int
	}{{"with a header", false, 1}, {"without", true, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			p := showing(&out, nil)
			p.NoHeaders = tt.noHeaders
			if err := printSockets(p, true, apitest.Sockets()...); err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Count(out.String(), "\n"), tt.lines+len(apitest.Sockets()); got != want {
				t.Errorf("%d lines, want %d:\n%s", got, want, out.String())
			}
		})
	}
}

func TestAWideTableHasAnyWidth(t *testing.T) {
	p := showing(&bytes.Buffer{}, nil)
	p.Out, p.Format = termtest.New(t, 132, 24).TTY, Wide
	if got := p.Screen(); got != (term.Screen{Width: 0, Colour: true}) {
		t.Errorf("got %+v", got)
	}
}

func TestOnlyTerminalsHaveColours(t *testing.T) {
	terminal := termtest.New(t, 80, 24)
	p := showing(nil, map[string]string{"TERM": "xterm"})
	p.Out = terminal.TTY
	if err := printSockets(p, false, apitest.Sockets()[1:2]...); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, patience, "the table is coloured", func() bool {
		got := terminal.Written()
		return strings.Contains(got, "\x1b[1mPOD\x1b[0m") && strings.Contains(got, "\x1b[33mFIN_WAIT2\x1b[0m")
	})
	if got := shown(t, func(p *Printer) error { return printSockets(p, true, apitest.Sockets()...) }); strings.Contains(got, "\x1b") {
		t.Errorf("a file gets %q", got)
	}
}
