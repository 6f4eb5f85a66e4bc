// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"iter"
)

// members yields the quoted keys and the values of a valid JSON object. A pod may have thousands of annotations, most of
// them not ours: creating a map of all with encoding/json takes many times as long.
func members(object []byte) iter.Seq2[json.RawMessage, json.RawMessage] {
	return func(yield func(key, value json.RawMessage) bool) {
		rest := skipSpace(object[1:])
		for rest[0] == '"' {
			key := rest[:valueLength(rest)]
			rest = skipSpace(rest[len(key):])
			rest = skipSpace(rest[1:]) // the colon
			value := rest[:valueLength(rest)]
			if !yield(key, value) {
				return
			}
			rest = skipSpace(rest[len(value):])
			if rest[0] == ',' {
				rest = skipSpace(rest[1:])
			}
		}
	}
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\n' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// valueLength returns the length of the JSON value at the start of b.
func valueLength(b []byte) int {
	depth := 0
	for i := 0; ; i++ {
		switch b[i] {
		case '"':
			if i += stringLength(b[i:]) - 1; depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
			if depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
}

// stringLength returns the length of the JSON string at the start of b.
func stringLength(b []byte) int {
	end := 1
	for {
		end += bytes.IndexByte(b[end:], '"')
		escapes := len(b[:end]) - len(bytes.TrimRight(b[:end], `\`))
		if end++; escapes%2 == 0 {
			return end
		}
	}
}

// unquoted returns the value of a JSON string.
func unquoted(b json.RawMessage) string {
	inner := b[1 : len(b)-1]
	if bytes.IndexByte(inner, '\\') < 0 && bytes.IndexFunc(inner, func(r rune) bool { return r >= 0x80 }) < 0 {
		return string(inner)
	}
	var s string
	_ = json.Unmarshal(b, &s) // a valid string never fails
	return s
}
