// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"bytes"
)

// key is a pressed key: a letter or one of the constants.
type key string

// The keys other than letters.
const (
	keyUp        key = "up"
	keyDown      key = "down"
	keyPageUp    key = "page up"
	keyPageDown  key = "page down"
	keyHome      key = "home"
	keyEnd       key = "end"
	keyEnter     key = "enter"
	keyEscape    key = "escape"
	keyInterrupt key = "^C"
	keySuspend   key = "^Z"
	keyRedraw    key = "^L"
)

const escape = '\x1b'

// parseKeys parses the input of a terminal. It returns as rest the possible beginning of an escape sequence. If complete,
// no input has followed for keyDelay, and such bytes are keys themselves.
func parseKeys(in []byte, complete bool) (keys []key, rest []byte) {
	for len(in) > 0 {
		n := 1
		switch c := in[0]; {
		case c == escape:
			var k key
			if k, n = parseEscape(in); n == 0 && !complete {
				return keys, in
			}
			n = max(n, 1)
			if k != "" {
				keys = append(keys, k)
			}
		case c == '\r' || c == '\n':
			keys = append(keys, keyEnter)
		case c == 3:
			keys = append(keys, keyInterrupt)
		case c == 12:
			keys = append(keys, keyRedraw)
		case c == 26:
			keys = append(keys, keySuspend)
		case c >= ' ' && c < 0x7f:
			keys = append(keys, key(c))
		}
		in = in[n:]
	}
	return keys, nil
}

// maxSequence is the longest escape sequence, in bytes. The rest of a longer one is parsed as other keys.
const maxSequence = 32

// parseEscape parses one escape sequence (ECMA-48, section 5.4). It returns its length, 0 if the sequence is incomplete. The
// key is "" if the sequence is none of the constants.
func parseEscape(in []byte) (key, int) {
	if len(in) == 1 {
		return keyEscape, 0
	}
	switch in[1] {
	case 'O': // from keypads and in application mode
		if len(in) == 2 {
			return "", 0
		}
		return final(in[2], nil), 3
	case '[':
		in = in[:min(len(in), maxSequence)]
		end := bytes.IndexFunc(in[2:], func(r rune) bool { return r < ' ' || r > '?' })
		switch {
		case end < 0 && len(in) < maxSequence:
			return "", 0
		case end < 0:
			return "", maxSequence
		}
		return final(in[2+end], in[2:2+end]), 2 + end + 1
	}
	return keyEscape, 1
}

// final returns the key of a sequence by its last byte and its parameters.
func final(last byte, params []byte) key {
	switch last {
	case 'A':
		return keyUp
	case 'B':
		return keyDown
	case 'H':
		return keyHome
	case 'F':
		return keyEnd
	case 'M':
		return keyEnter
	case '~':
		switch string(params) {
		case "1", "7":
			return keyHome
		case "4", "8":
			return keyEnd
		case "5":
			return keyPageUp
		case "6":
			return keyPageDown
		}
	}
	return ""
}
