// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// object is a JSON object with its keys in the order in which they stand, repeated ones included.
type object []field

type field struct {
	key string
	raw json.RawMessage
}

func (o object) has(key string) bool {
	for _, f := range o {
		if f.key == key {
			return true
		}
	}
	return false
}

// reader reads the value of one key.
type reader func(path string, raw json.RawMessage)

// readers returns how the keys of a policy are read into l.
func (l *layer) readers(c *collector, maxExempt int) map[string]reader {
	return map[string]reader{
		keyMode:           func(path string, raw json.RawMessage) { readWord(c, path, raw, modeWords, &l.mode) },
		keyCloseWaitGrace: func(path string, raw json.RawMessage) { readGrace(c, path, raw, &l.closeWait) },
		keyFinWait2Grace:  func(path string, raw json.RawMessage) { readGrace(c, path, raw, &l.finWait2) },
		keyClock:          func(path string, raw json.RawMessage) { readWord(c, path, raw, clockWords, &l.clock) },
		keyPendingData:    func(path string, raw json.RawMessage) { readWord(c, path, raw, pendingWords, &l.pending) },
		keyExempt: func(path string, raw json.RawMessage) {
			// What is wrong is with the collector already, at the path where it stands.
			_ = l.exempt.take(c.exemptions(path, raw, maxExempt))
		},
	}
}

// object reads the keys of an object. They are matched exactly: encoding/json's own matching into structs
// would take "Grace" for "grace".
func (c *collector) object(path string, raw []byte) (object, bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		c.addf(path, "want an object, got %s", describe(raw))
		return nil, false
	}
	var obj object
	for dec.More() {
		var f field
		tok, err := dec.Token()
		if err == nil {
			f.key, _ = tok.(string)
			err = dec.Decode(&f.raw)
		}
		if err != nil {
			c.addf(path, "not JSON: %s", err)
			return nil, false
		}
		obj = append(obj, f)
	}
	return obj, true
}

// each hands every key to its reader or, where it has none, to unknown. A key that is repeated is a problem
// and its first value stands.
func (c *collector) each(path string, obj object, readers map[string]reader, unknown func(path string, f field)) {
	seen := map[string]bool{}
	for _, f := range obj {
		at := child(path, f.key)
		read, ours := readers[f.key]
		switch {
		case !ours:
			unknown(at, f)
		case seen[f.key]:
			c.addf(at, "given more than once")
		default:
			seen[f.key] = true
			read(at, f.raw)
		}
	}
}

// text reads a string; want says with an example what is wanted where it is none.
func (c *collector) text(path string, raw json.RawMessage, want string) (string, bool) {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		c.addf(path, "want %s, got %s", want, describe(raw))
		return "", false
	}
	return s, true
}

// list reads a list of at most most values.
func (c *collector) list(path string, raw json.RawMessage, want string, most int) ([]json.RawMessage, bool) {
	var values []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &values) != nil {
		c.addf(path, "want %s, got %s", want, describe(raw))
		return nil, false
	}
	if len(values) > most {
		c.addf(path, "%d entries, at most %d are allowed", len(values), most)
		return nil, false
	}
	return values, true
}

// describe says what a JSON value is.
func describe(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f', 'n':
		return string(raw[:min(len(raw), len("false"))])
	}
	if len(raw) > maxQuoted {
		return "a number"
	}
	return "the number " + string(raw)
}

func readWord[T ~uint8](c *collector, path string, raw json.RawMessage, w words, s *setting[T]) {
	s.named = true
	text, ok := c.text(path, raw, w.example())
	if !ok {
		return
	}
	if err := s.take(parseWord[T](w, text)); err != nil {
		c.add(path, err)
	}
}

func readGrace(c *collector, path string, raw json.RawMessage, s *setting[Grace]) {
	s.named = true
	want := graceExample
	if seconds, ok := addUnit(string(raw)); ok {
		c.addf(path, "want %s; %s has no unit: write %s", want, raw, strconv.Quote(seconds))
		return
	}
	text, ok := c.text(path, raw, want)
	if !ok {
		return
	}
	if err := s.take(parseGrace(text)); err != nil {
		c.add(path, err)
	}
}
