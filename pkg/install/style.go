// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tailscale/hujson"
)

// style is how an object in somebody's file is laid out, for ours to look like it.
type style struct {
	lines   bool   // a line for each member; else all in one
	newline string // "\n" or "\r\n"
	indent  string // before the object's closing brace
	unit    string // and so much more before each member
	spaced  bool   // in one line: a space after each colon and comma
}

// styleOf returns the style of an object.
func styleOf(v hujson.Value) style {
	s := style{newline: "\n", unit: "  "}
	obj, ok := v.Value.(*hujson.Object)
	if !ok || len(obj.Members) == 0 {
		return s
	}
	first := obj.Members[0]
	s.spaced = len(first.Value.BeforeExtra) > 0
	inner, lines := lastLine(first.Name.BeforeExtra)
	if !lines {
		return s
	}
	s.lines = true
	if bytes.Contains(first.Name.BeforeExtra, []byte("\r\n")) {
		s.newline = "\r\n"
	}
	if outer, ok := lastLine(obj.AfterExtra); ok {
		s.indent = outer
	}
	if unit, ok := strings.CutPrefix(inner, s.indent); ok {
		s.unit = unit
	}
	return s
}

// lastLine returns the white space after the last newline, and whether there is one.
func lastLine(space hujson.Extra) (string, bool) {
	i := bytes.LastIndexByte(space, '\n')
	return string(space[i+1:]), i >= 0
}

// before returns the white space that sets a new last plugin apart from the one that was the last. It is as
// before that one, unless it is the only one, and its brace stands right behind the list's bracket.
func (s style) before(last hujson.Value, only bool) hujson.Extra {
	if only && len(last.BeforeExtra) == 0 && (s.lines || s.spaced) {
		return hujson.Extra(" ")
	}
	return bytes.Clone(last.BeforeExtra)
}

// render writes the entry in the style.
func (s style) render(e Entry) hujson.ValueTrimmed {
	data := e.text
	if s.lines {
		var b bytes.Buffer
		if json.Indent(&b, data, s.indent, s.unit) == nil {
			data = bytes.ReplaceAll(b.Bytes(), []byte("\n"), []byte(s.newline))
		}
	}
	v, err := hujson.Parse(data)
	if err != nil {
		return hujson.Literal(data) // it is an entry, so it parses
	}
	if !s.lines && s.spaced {
		space(&v)
	}
	return v.Value
}

// space puts a space after each colon and comma.
func space(v *hujson.Value) {
	one := hujson.Extra(" ")
	switch value := v.Value.(type) {
	case *hujson.Object:
		for i := range value.Members {
			if i > 0 {
				value.Members[i].Name.BeforeExtra = one
			}
			value.Members[i].Value.BeforeExtra = one
			space(&value.Members[i].Value)
		}
	case *hujson.Array:
		for i := range value.Elements {
			if i > 0 {
				value.Elements[i].BeforeExtra = one
			}
			space(&value.Elements[i])
		}
	}
}
